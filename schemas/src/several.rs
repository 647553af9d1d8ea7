//! None, one or many.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// None, one or many objects, in the one way that JSON says it here: `null`, the object itself, or a list of at least two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Several<T>(Vec<T>);

impl<T> Default for Several<T> {
    fn default() -> Several<T> {
        Several(Vec::new())
    }
}

impl<T> Deref for Several<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> FromIterator<T> for Several<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Several<T> {
        Several(items.into_iter().collect())
    }
}

impl<T: Serialize> Serialize for Several<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [] => to.serialize_none(),
            [one] => one.serialize(to),
            many => many.serialize(to),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Several<T>, D::Error> {
        from.deserialize_any(Reader(PhantomData))
    }
}

struct Reader<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
    type Value = Several<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, an object, or a list of at least two")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Several<T>, E> {
        Ok(Several::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Several<T>, A::Error> {
        Ok(Several(vec![T::deserialize(MapAccessDeserializer::new(map))?]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Several<T>, A::Error> {
        let mut many = Vec::new();
        while let Some(one) = list.next_element()? {
            many.push(one);
        }
        if many.len() < 2 {
            return Err(de::Error::invalid_length(many.len(), &self));
        }
        Ok(Several(many))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    type Things = Several<BTreeMap<String, u64>>;

    #[test]
    fn each_number_is_said_in_one_way() {
        for text in ["null", r#"{"a":1}"#, r#"[{"a":1},{"a":1}]"#] {
            let things: Things = serde_json::from_str(text).expect("several");
            assert_eq!(serde_json::to_string(&things).expect("JSON"), text);
            assert_eq!(things.len(), text.matches('a').count());
        }
        for text in ["[]", r#"[{"a":1}]"#, r#"[null,{"a":1}]"#, "1", r#""""#, "true"] {
            assert!(serde_json::from_str::<Things>(text).is_err(), "{text}");
        }
    }
}
