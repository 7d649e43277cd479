//! Records, IDs, sets and indexes with the types of a program.
//!
//! Owns: converting records to types. Never: adds a byte to a record; stores anything that the untyped interface does
//! not. The types exist only in the program: another program can read the same set as another type, and gets whatever
//! that type decodes from the bytes. Invariant: fetching an [`Id`] of a deleted record returns *deleted*, never another
//! record.
//!
//! Definitions are constants. [`Value`] defines how a type is encoded; with the feature `json`, `Json` implements it
//! for every serde type.
//!
//! ```
//! use tenure::Store;
//! use tenure::typed::{Id, IndexDefinition, SetDefinition, Value};
//!
//! struct Company {
//!     name: String,
//! }
//!
//! impl Value for Company {
//!     fn encode(&self, out: &mut Vec<u8>) -> tenure::Result<()> {
//!         out.extend_from_slice(self.name.as_bytes());
//!         Ok(())
//!     }
//!     fn decode(bytes: &[u8]) -> tenure::Result<Self> {
//!         let name = std::str::from_utf8(bytes).map_err(tenure::Error::bad_value::<Self>)?;
//!         Ok(Self { name: name.to_owned() })
//!     }
//! }
//!
//! const COMPANIES: SetDefinition<Company> = SetDefinition::new("companies");
//! const BY_NAME: IndexDefinition<Company, &str> = IndexDefinition::unique("name", 1, |company, put| put(&company.name));
//!
//! let store = Store::in_memory()?;
//! let companies = store.typed_set(COMPANIES)?;
//! let by_name = store.typed_index(&companies, BY_NAME)?;
//! let id: Id<Company> = store.write(|tx| companies.insert(tx, &Company { name: "Analytical Engines".into() }))?;
//!
//! let view = store.view();
//! assert_eq!(view.fetch(id)?.name, "Analytical Engines");
//! assert_eq!(by_name.get(&view, "Analytical Engines")?, Some(id));
//! # Ok::<(), tenure::Error>(())
//! ```

#[cfg(feature = "json")]
mod finite;
mod id;
mod index;
mod key;
mod migrate;
mod prefix;
mod range;
mod set;
mod set_in_transaction;
mod stream;
mod transaction;
mod value;
mod version;
#[cfg(feature = "json")]
mod version_json;

pub use id::Id;
pub use index::{IndexDefinition, KeysOf, TypedIndex};
pub use key::{IndexKey, ReadKey};
pub use migrate::Migrated;
pub use range::{TypedDistinct, TypedEntries, TypedRange};
pub use set::{SetDefinition, TypedScan, TypedSet};
pub use set_in_transaction::{TypedTransactionRecords, TypedTransactionScan};
pub use stream::TypedStaged;
pub use transaction::{TypedTransactionEntries, TypedTransactionRange};
#[cfg(feature = "json")]
pub use value::Json;
pub use value::Value;
pub use version::{Migrate, NoOlder, ValueVersions, Versioned};
#[cfg(feature = "json")]
pub use version_json::JsonVersions;
#[cfg(feature = "json")]
pub use version_json::VersionedJson;
