//! A bucket of an object store that is always a valid store: everything the local backing does is shipped there, in order.
//!
//! Owns: the objects of a bucket, the journal and its uploader, epochs and taking over, opening from a bucket, deleting.
//! `docs/remote.md` describes objects, protocols and what follows each failure. Never: knows what the bytes of files mean,
//! overwrites an object, or lets a clock or a lease decide who writes.

mod bucket;
mod cleared;
mod epochs;
mod fetching;
mod home;
mod journal;
mod loading;
mod local;
mod merging;
mod names;
mod object;
mod objects;
mod options;
mod places;
mod probe;
mod prune;
mod reads;
mod session;
mod shipped;
mod shipped_file;
mod status;
mod table;
mod uploader;
mod url;
mod view;
mod waits;

pub use bucket::Bucket;
pub use object::LogPoint;
pub(crate) use objects::Listed;
pub use options::RemoteOptions;
pub use prune::Pruned;
pub use shipped::Remote;
pub use status::BucketStatus;
pub use view::BucketView;
pub(crate) use waits::waiting_until;
