//! People whose type has a new field that older records lack.

use tenure::typed::{IndexDefinition, SetDefinition, Value};
use tenure::{Error, Result};

/// As the first version of a program wrote them.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    pub name: String,
}

/// As the second version reads them: `city` is required.
#[derive(Debug, Clone, PartialEq)]
pub struct Resident {
    pub name: String,
    pub city: String,
}

impl Value for Person {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(self.name.as_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(Error::bad_value::<Self>)?;
        Ok(Self { name: text.split(';').next().unwrap_or_default().to_owned() })
    }
}

impl Value for Resident {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(format!("{};{}", self.name, self.city).as_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(Error::bad_value::<Self>)?;
        let (name, city) = text.split_once(';').ok_or_else(|| Error::bad_value::<Self>("missing field `city`"))?;
        Ok(Self { name: name.to_owned(), city: city.to_owned() })
    }
}

pub const PEOPLE: SetDefinition<Person> = SetDefinition::new("people");
pub const RESIDENTS: SetDefinition<Resident> = SetDefinition::new("people");
pub const OLD_NAME: IndexDefinition<Person, &str> = IndexDefinition::unique("name", 1, |person, put| put(&person.name));
/// The same index for programs that know the new type.
pub const NAME: IndexDefinition<Resident, &str> = IndexDefinition::unique("name", 1, |person, put| put(&person.name));
/// Its next version.
pub const NEXT_NAME: IndexDefinition<Resident, &str> =
    IndexDefinition::unique("name", 2, |person, put| put(&person.name));

pub fn person(name: &str) -> Person {
    Person { name: name.to_owned() }
}

pub fn resident(name: &str, city: &str) -> Resident {
    Resident { name: name.to_owned(), city: city.to_owned() }
}
