//! The fields of a JSON object, by name: what a request brought and of which type it must be.
//!
//! Nothing is copied and nothing is parsed twice: a field is the text of its value inside the
//! line. Names that nobody asks for are skipped; of a name that comes twice the last value
//! counts, as in most JSON parsers. Every refusal names the field.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use crate::refusal::Refusal;
use crate::value::{canonical, compact};

/// Longest key in bytes of UTF-8.
pub(crate) const KEY_BYTES_MAX: usize = 65_535;

/// The values of those fields of an object whose names somebody knows.
pub(crate) struct Fields<'a, const N: usize> {
    names: &'static [&'static str; N],
    values: [Option<&'a RawValue>; N],
}

impl<'a, const N: usize> Fields<'a, N> {
    /// Reads `json`, which must be an object and nothing behind it.
    pub(crate) fn parse(
        json: &'a str,
        names: &'static [&'static str; N],
    ) -> Result<Self, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let fields = Names(names).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(fields)
    }

    /// The field's value; `None` if the object has no such field. `null` is a value.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let index = self.names.iter().position(|known| *known == name);
        self.values[index.expect("only fields of the list are asked for")]
    }

    /// Any JSON value, `null` included, as compact text.
    pub(crate) fn value(&self, name: &str) -> Result<Cow<'a, str>, Refusal> {
        Ok(compact(self.present(name)?.get()))
    }

    /// Any JSON value, `null` included, as the one text of all that mean the same.
    pub(crate) fn canonical(&self, name: &str) -> Result<Vec<u8>, Refusal> {
        Ok(canonical(&self.value(name)?))
    }

    /// A string.
    pub(crate) fn string(&self, name: &str) -> Result<Cow<'a, str>, Refusal> {
        string(name, self.present(name)?)
    }

    /// A string, absent or `null`.
    pub(crate) fn optional_string(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        self.optional(name).map(|raw| string(name, raw)).transpose()
    }

    /// A string of at most [`KEY_BYTES_MAX`] bytes.
    pub(crate) fn key(&self, name: &str) -> Result<Cow<'a, str>, Refusal> {
        let key = self.string(name)?;
        check_key(name, key.as_bytes())?;
        Ok(key)
    }

    /// An integer inside `range`.
    pub(crate) fn integer(&self, name: &str, range: RangeInclusive<u64>) -> Result<u64, Refusal> {
        integer(name, self.present(name)?, range)
    }

    /// An integer inside `range`, absent or `null`.
    pub(crate) fn optional_integer(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Refusal> {
        self.optional(name).map(|raw| integer(name, raw, range)).transpose()
    }

    /// `true` or `false`; absent and `null` are `false`.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.optional(name).map(RawValue::get) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(wrong_type(name, "true or false", other)),
        }
    }

    /// Calls `each` with the index and the text of every element of an array, until one is
    /// refused. Nothing is collected.
    pub(crate) fn elements(
        &self,
        name: &str,
        each: impl FnMut(usize, &'a RawValue) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let raw = self.present(name)?;
        if !raw.get().starts_with('[') {
            return Err(wrong_type(name, "an array", raw.get()));
        }
        let mut elements = Elements { each, refused: None };
        let done = serde_json::Deserializer::from_str(raw.get()).deserialize_seq(&mut elements);
        match (elements.refused, done) {
            (Some(refusal), _) => Err(refusal),
            (None, done) => done.map_err(|error| malformed(name, &error)),
        }
    }

    fn present(&self, name: &str) -> Result<&'a RawValue, Refusal> {
        self.raw(name).ok_or_else(|| Refusal::malformed(format!("field `{name}` is missing")))
    }

    fn optional(&self, name: &str) -> Option<&'a RawValue> {
        self.raw(name).filter(|raw| raw.get() != "null")
    }
}

/// Refuses a stored key that is too long.
pub(crate) fn check_key(name: &str, key: &[u8]) -> Result<(), Refusal> {
    if key.len() <= KEY_BYTES_MAX {
        return Ok(());
    }
    let bytes = key.len();
    Err(Refusal::malformed(format!(
        "field `{name}` has {bytes} bytes: at most {KEY_BYTES_MAX} are allowed"
    )))
}

/// Whether a JSON text is an integer as JSON writes it: digits alone, a sign before them or none.
/// `1.0` and `1e3` are not.
pub(crate) fn is_integer(json: &str) -> bool {
    let digits = json.strip_prefix('-').unwrap_or(json);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// What a string means: borrowed unless something in it is escaped.
fn string<'a>(name: &str, raw: &'a RawValue) -> Result<Cow<'a, str>, Refusal> {
    let json = raw.get();
    let Some(inside) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Err(wrong_type(name, "a string", json));
    };
    if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(inside));
    }
    serde_json::from_str(json).map(Cow::Owned).map_err(|error| malformed(name, &error))
}

fn integer(name: &str, raw: &RawValue, range: RangeInclusive<u64>) -> Result<u64, Refusal> {
    let json = raw.get();
    if !is_integer(json) {
        return Err(wrong_type(name, "an integer", json));
    }
    json.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
        let (least, most) = range.into_inner();
        Refusal::malformed(format!("field `{name}` must be {least} to {most}"))
    })
}

fn wrong_type(name: &str, wanted: &str, found: &str) -> Refusal {
    let found = match found.as_bytes()[0] {
        b'"' => "a string",
        b'{' => "an object",
        b'[' => "an array",
        b't' | b'f' => "a boolean",
        b'n' => "null",
        _ => "a number",
    };
    Refusal::malformed(match (wanted, found) {
        ("an integer", "a number") => format!("field `{name}` must be an integer"),
        _ => format!("field `{name}` must be {wanted}, not {found}"),
    })
}

fn malformed(name: &str, error: &serde_json::Error) -> Refusal {
    Refusal::malformed(format!("field `{name}`: {error}"))
}

struct Names<const N: usize>(&'static [&'static str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Names<N> {
    type Value = Fields<'de, N>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Names<N> {
    type Value = Fields<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = [None; N];
        while let Some(index) = map.next_key_seed(Name(self.0))? {
            match index {
                Some(index) => values[index] = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Fields { names: self.0, values })
    }
}

/// Turns a member's name into its place in the list.
struct Name<const N: usize>(&'static [&'static str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Name<N> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<const N: usize> Visitor<'_> for Name<N> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == name))
    }
}

/// Hands the elements of an array on, one by one.
struct Elements<F> {
    each: F,
    refused: Option<Refusal>,
}

impl<'de, F> Visitor<'de> for &mut Elements<F>
where
    F: FnMut(usize, &'de RawValue) -> Result<(), Refusal>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(element) = seq.next_element::<&'de RawValue>()? {
            if let Err(refusal) = (self.each)(index, element) {
                self.refused = Some(refusal);
                return Err(A::Error::custom("refused"));
            }
            index += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["key", "limit", "reverse"];

    fn fields(json: &str) -> Fields<'_, 3> {
        Fields::parse(json, &NAMES).unwrap()
    }

    #[test]
    fn unknown_names_are_skipped_and_the_last_of_a_name_counts() {
        let fields = fields(r#"{"x":[{}],"key":1,"\u006bey":"b\n","limit":null}"#);
        assert_eq!(fields.string("key").unwrap(), "b\n");
        assert_eq!(fields.raw("limit").unwrap().get(), "null");
        assert!(fields.raw("reverse").is_none());
    }

    #[test]
    fn null_is_absent_for_optional_fields_and_a_wrong_type_for_others() {
        let fields = fields(r#"{"key":null,"limit":null,"reverse":null}"#);
        assert_eq!(fields.optional_integer("limit", 0..=9).unwrap(), None);
        assert_eq!(fields.optional_string("key").unwrap(), None);
        assert!(!fields.flag("reverse").unwrap());
        assert_eq!(fields.value("key").unwrap(), "null");
        let text = |refusal: Refusal| refusal.text;
        assert_eq!(text(fields.string("key").unwrap_err()), "field `key` must be a string, not null");
    }

    #[test]
    fn half_a_surrogate_pair_is_no_key() {
        for json in [r#"{"key":"\ud800"}"#, r#"{"key":"\udc00x"}"#, r#"{"key":"\ud800\ud800"}"#] {
            let refusal = fields(json).key("key").unwrap_err();
            assert!(refusal.text.starts_with("field `key`: "), "{}", refusal.text);
        }
        assert_eq!(fields(r#"{"key":"\ud83e\udd80"}"#).key("key").unwrap(), "\u{1f980}");
    }

    #[test]
    fn integers_are_digits_inside_their_range() {
        for (json, expected) in [
            (r#"{"limit":0}"#, Ok(0)),
            (r#"{"limit":9}"#, Ok(9)),
            (r#"{"limit":10}"#, Err("field `limit` must be 0 to 9")),
            (r#"{"limit":-1}"#, Err("field `limit` must be 0 to 9")),
            (r#"{"limit":18446744073709551616}"#, Err("field `limit` must be 0 to 9")),
            (r#"{"limit":1.0}"#, Err("field `limit` must be an integer")),
            (r#"{"limit":1e0}"#, Err("field `limit` must be an integer")),
            (r#"{"limit":"1"}"#, Err("field `limit` must be an integer, not a string")),
            (r#"{}"#, Err("field `limit` is missing")),
        ] {
            let found = fields(json).integer("limit", 0..=9).map_err(|refusal| refusal.text);
            assert_eq!(found, expected.map_err(str::to_owned), "{json}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for json in ["", "1", "[]", "{", "{} x", r#"{"key":}"#, r#"{"key":01}"#, "{\"\u{1}\":1}"] {
            assert!(Fields::parse(json, &NAMES).is_err(), "{json}");
        }
    }

    #[test]
    fn the_first_refused_element_ends_the_walk() {
        let fields = fields(r#"{"key":[1, 2,3]}"#);
        let mut seen = Vec::new();
        let refusal = fields.elements("key", |index, element| {
            seen.push(element.get().to_owned());
            if index == 1 { Err(Refusal::malformed("enough")) } else { Ok(()) }
        });
        assert_eq!(refusal.unwrap_err().text, "enough");
        assert_eq!(seen, ["1", "2"]);
    }
}
