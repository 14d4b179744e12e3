//! A strict JSON reader, which returns a tree, or every defect that it found.
//!
//! If a defect only makes a text unacceptable, the reader records it and continues. If the defect
//! makes the text unreadable, the reader stops.

use std::collections::BTreeSet;

use crate::decimal::Decimal;

/// A JSON value. Numbers keep their spelling, objects their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// As it is spelled.
    Number(String),
    /// Unescaped.
    Text(String),
    /// The elements.
    Array(Vec<Tree>),
    /// The members, with unescaped names.
    Object(Vec<(String, Tree)>),
}

/// Why a text is not one strict JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TextDefect {
    /// The bytes are not UTF-8.
    NotUtf8,
    /// The text does not begin with an object.
    NotAnObject,
    /// The grammar, a number beyond the doubles, a lone surrogate, or too much nesting.
    Syntax,
    /// A duplicate name in one object.
    DuplicateMember,
    /// A name with which serde_json marks the values of some of its types.
    ReservedMember,
    /// More members than allowed, at all depths together.
    TooManyMembers,
}

/// The result of reading a text.
#[derive(Debug)]
pub struct Reading {
    /// The members of the object, if the text has no defect.
    pub members: Option<Vec<(String, Tree)>>,
    /// The defects of the text, as far as it could be read.
    pub defects: BTreeSet<TextDefect>,
}

/// The maximum nesting of arrays and objects.
const MAX_DEPTH: usize = 127;

/// Reads a text that has to be one object, with at most `max_members` members at all depths.
pub fn read_object(text: &[u8], max_members: usize) -> Reading {
    let mut defects = BTreeSet::new();
    let first = text.iter().find(|byte| !b" \t\n\r".contains(byte));
    if first != Some(&b'{') {
        defects.insert(TextDefect::NotAnObject);
    }
    let Ok(text) = str::from_utf8(text) else {
        defects.insert(TextDefect::NotUtf8);
        return Reading { members: None, defects };
    };
    if !defects.is_empty() {
        return Reading { members: None, defects };
    }

    let chars = text.chars().collect();
    let mut reader = Reader { chars, at: 0, max_members, members: 0, defects };
    let tree = reader.value(0).filter(|_| {
        reader.space();
        reader.at == reader.chars.len()
    });
    let mut defects = reader.defects;
    match tree {
        Some(Tree::Object(members)) if defects.is_empty() => {
            Reading { members: Some(members), defects }
        }
        Some(_) => Reading { members: None, defects },
        None => {
            defects.insert(TextDefect::Syntax);
            Reading { members: None, defects }
        }
    }
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    max_members: usize,
    members: usize,
    defects: BTreeSet<TextDefect>,
}

/// Each part of the grammar of RFC 8259; `None` if the text does not follow it.
impl Reader {
    /// §3. `depth` arrays and objects surround the value.
    fn value(&mut self, depth: usize) -> Option<Tree> {
        self.space();
        match self.peek()? {
            '{' | '[' if depth == MAX_DEPTH => None,
            '{' => self.object(depth + 1),
            '[' => self.array(depth + 1),
            '"' => self.string().map(Tree::Text),
            '-' | '0'..='9' => self.number(),
            't' => self.word("true", Tree::Bool(true)),
            'f' => self.word("false", Tree::Bool(false)),
            'n' => self.word("null", Tree::Null),
            _ => None,
        }
    }

    /// §4
    fn object(&mut self, depth: usize) -> Option<Tree> {
        let mut members: Vec<(String, Tree)> = Vec::new();
        self.expect('{')?;
        self.space();
        if self.accept('}') {
            return Some(Tree::Object(members));
        }
        loop {
            self.space();
            // The limit is exceeded before the name of the member is read.
            self.members += usize::from(self.peek() == Some('"'));
            if self.members > self.max_members {
                self.defects.insert(TextDefect::TooManyMembers);
            }
            let name = self.string()?;
            if members.iter().any(|(known, _)| *known == name) {
                self.defects.insert(TextDefect::DuplicateMember);
            }
            if name.starts_with("$serde_json::private::") {
                self.defects.insert(TextDefect::ReservedMember);
            }
            self.space();
            self.expect(':')?;
            let value = self.value(depth)?;
            members.push((name, value));
            self.space();
            if self.accept('}') {
                return Some(Tree::Object(members));
            }
            self.expect(',')?;
        }
    }

    /// §5
    fn array(&mut self, depth: usize) -> Option<Tree> {
        let mut elements = Vec::new();
        self.expect('[')?;
        self.space();
        if self.accept(']') {
            return Some(Tree::Array(elements));
        }
        loop {
            elements.push(self.value(depth)?);
            self.space();
            if self.accept(']') {
                return Some(Tree::Array(elements));
            }
            self.expect(',')?;
        }
    }

    /// §6
    fn number(&mut self) -> Option<Tree> {
        let start = self.at;
        self.accept('-');
        if !self.accept('0') {
            self.digits()?;
        }
        if self.accept('.') {
            self.digits()?;
        }
        if self.accept('e') || self.accept('E') {
            let _ = self.accept('+') || self.accept('-');
            self.digits()?;
        }
        let spelled: String = self.chars[start..self.at].iter().collect();
        // serde_json may round a number that is closer to the largest double up to infinity.
        let end = Decimal::from_json("1.797693134862315e308");
        if !Decimal::from_json(&spelled).is_nearer_to_zero_than(&end) {
            self.defects.insert(TextDefect::Syntax);
        }
        Some(Tree::Number(spelled))
    }

    fn digits(&mut self) -> Option<()> {
        self.peek().filter(char::is_ascii_digit)?;
        while self.peek().is_some_and(|digit| digit.is_ascii_digit()) {
            self.at += 1;
        }
        Some(())
    }

    /// §7
    fn string(&mut self) -> Option<String> {
        let mut text = String::new();
        self.expect('"')?;
        loop {
            match self.next()? {
                '"' => return Some(text),
                '\\' => text.push(self.escaped()?),
                '\0'..='\u{1f}' => return None,
                plain => text.push(plain),
            }
        }
    }

    /// Reads the characters after a backslash.
    fn escaped(&mut self) -> Option<char> {
        Some(match self.next()? {
            '"' => '"',
            '\\' => '\\',
            '/' => '/',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let unit = self.code_unit()?;
                let mut units = vec![unit];
                let before_second = self.at;
                if (0xd800..=0xdbff).contains(&unit) && self.accept('\\') && self.accept('u') {
                    units.push(self.code_unit()?);
                }
                let decoded = char::decode_utf16(units.iter().copied()).next()?;
                decoded.unwrap_or_else(|_| {
                    // A lone surrogate. The next character is read separately.
                    self.defects.insert(TextDefect::Syntax);
                    self.at = before_second;
                    char::REPLACEMENT_CHARACTER
                })
            }
            _ => return None,
        })
    }

    fn code_unit(&mut self) -> Option<u16> {
        let digits: String = (0..4).map(|_| self.next()).collect::<Option<_>>()?;
        // `from_str_radix` would accept a sign.
        digits.chars().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
        u16::from_str_radix(&digits, 16).ok()
    }

    fn word(&mut self, word: &str, value: Tree) -> Option<Tree> {
        word.chars().try_for_each(|letter| self.expect(letter)).map(|()| value)
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|char| " \t\n\r".contains(char)) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn accept(&mut self, expected: char) -> bool {
        let there = self.peek() == Some(expected);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, expected: char) -> Option<()> {
        self.accept(expected).then_some(())
    }
}

/// Returns the value of the member `name`.
pub fn member<'t>(members: &'t [(String, Tree)], name: &str) -> Option<&'t Tree> {
    members.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

impl Tree {
    /// Returns whether serde_json has the same value: the same strings, and numbers that are the
    /// same integer or the same double.
    pub fn is(&self, value: &serde_json::Value) -> bool {
        use serde_json::Value;

        match (self, value) {
            (Self::Null, Value::Null) => true,
            (Self::Bool(one), Value::Bool(other)) => one == other,
            (Self::Text(one), Value::String(other)) => one == other,
            (Self::Number(spelled), Value::Number(number)) => is_number(spelled, number),
            (Self::Array(ones), Value::Array(others)) => {
                ones.len() == others.len()
                    && ones.iter().zip(others).all(|(one, other)| one.is(other))
            }
            (Self::Object(ones), Value::Object(others)) => {
                ones.len() == others.len()
                    && ones
                        .iter()
                        .all(|(name, one)| others.get(name).is_some_and(|other| one.is(other)))
            }
            _ => false,
        }
    }
}

/// An integer of up to 64 bits keeps its value, and every other number is the nearest double. A
/// zero with a sign is a double.
fn is_number(spelled: &str, number: &serde_json::Number) -> bool {
    match (spelled.parse::<u64>(), spelled.parse::<i64>()) {
        (_, Ok(0)) if spelled == "-0" => {
            number.as_f64().map(f64::to_bits) == Some((-0.0_f64).to_bits())
        }
        (Ok(integer), _) => number.as_u64() == Some(integer),
        (_, Ok(integer)) => number.as_i64() == Some(integer),
        _ => {
            let bits = |double: f64| double.to_bits();
            number.is_f64() && number.as_f64().map(bits) == spelled.parse().ok().map(bits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defects(text: impl AsRef<[u8]>) -> Vec<TextDefect> {
        read_object(text.as_ref(), 8).defects.into_iter().collect()
    }

    #[test]
    fn accepts_what_rfc_8259_accepts() {
        for text in [
            "{}",
            " \t\r\n{ } \n",
            r#"{"":null,"a":[],"b":[1,-0,0.5,1e5,1E+5,-1.25e-3,1e-400,0e999]}"#,
            r#"{"a":"\"\\\/\b\f\n\r\tA\u00e9\ud83D\uDE00é😀 "}"#,
            r#"{"a":{"a":{"a":true}},"b":[{"a":false},{"a":1}]}"#,
        ] {
            assert_eq!(defects(text), [], "{text}");
        }
    }

    #[test]
    fn keeps_numbers_and_unescapes_strings() {
        let text = r#"{"\u0061":[1.50e0,"\ud83d\ude00\u0000"],"b":{"c":false}}"#;
        let members = read_object(text.as_bytes(), 8).members.unwrap();
        let Some(Tree::Array(elements)) = member(&members, "a") else { panic!("{members:?}") };
        assert_eq!(elements[0], Tree::Number("1.50e0".into()));
        assert_eq!(elements[1], Tree::Text("😀\0".into()));
        assert_eq!(member(&members, "c"), None);

        let tree = Tree::Object(members);
        assert!(tree.is(&serde_json::json!({ "a": [1.5, "😀\0"], "b": { "c": false } })));
        assert!(!tree.is(&serde_json::json!({ "a": [1.5, "😀\0"], "b": { "c": true } })));
        assert!(!tree.is(&serde_json::json!({ "a": [1.5, "😀\0"] })));
    }

    #[test]
    fn a_number_is_the_integer_or_the_double() {
        for (spelled, value, same) in [
            ("18446744073709551615", serde_json::json!(u64::MAX), true),
            ("18446744073709551616", serde_json::json!(18_446_744_073_709_551_616_f64), true),
            ("-9223372036854775808", serde_json::json!(i64::MIN), true),
            ("1", serde_json::json!(1.0), false),
            ("1.0", serde_json::json!(1), false),
            ("-0", serde_json::json!(0), false),
            ("-0", serde_json::json!(-0.0), true),
            ("-0.0", serde_json::json!(-0.0), true),
            ("-0.0", serde_json::json!(0.0), false),
            ("0.1", serde_json::json!(0.1), true),
            ("0.1", serde_json::json!(0.2), false),
        ] {
            assert_eq!(Tree::Number(spelled.into()).is(&value), same, "{spelled} {value}");
        }
    }

    #[test]
    fn rejects_what_the_grammar_does_not_allow() {
        for text in [
            "{",
            "{} {}",
            "{}x",
            "{}\u{feff}",
            "{\u{a0}}",
            "{a:1}",
            "{'a':1}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{,"a":1}"#,
            r#"{"a":1 "b":1}"#,
            r#"{"a":[1,]}"#,
            r#"{"a":01}"#,
            r#"{"a":+1}"#,
            r#"{"a":.5}"#,
            r#"{"a":1.}"#,
            r#"{"a":-}"#,
            r#"{"a":1e}"#,
            r#"{"a":0x1}"#,
            r#"{"a":NaN}"#,
            r#"{"a":-Infinity}"#,
            r#"{"a":nul}"#,
            r#"{"a":True}"#,
            r#"{"a":"x}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":"\u12"}"#,
            r#"{"a":"\u+123"}"#,
            "{\"a\":\"\n\"}",
            "{\"a\":\"\0\"}",
            r#"{"a":1e309}"#,
            r#"{"a":-1e99999999999999999999}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\udc00\ud800"}"#,
            r#"{"a":"\ud800\u0041"}"#,
            r#"{"a":"\ud800\\"}"#,
            r#"{"\ud800":1}"#,
        ] {
            assert_eq!(defects(text), [TextDefect::Syntax], "{text}");
        }
    }

    #[test]
    fn reports_the_other_defects() {
        for text in ["", " ", "[]", "null", "1", "\u{feff}{}", "x"] {
            assert_eq!(defects(text), [TextDefect::NotAnObject], "{text}");
        }
        assert_eq!(defects(b"{\"a\":\"\xff\"}"), [TextDefect::NotUtf8]);
        assert_eq!(defects(b"{}\xc0\x80"), [TextDefect::NotUtf8]);
        assert_eq!(defects(b"[\xff]"), [TextDefect::NotUtf8, TextDefect::NotAnObject]);
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":[{"b":{},"b":{}}]}"#,
            r#"{"":1,"":2}"#,
        ] {
            assert_eq!(defects(text), [TextDefect::DuplicateMember], "{text}");
        }
        let reserved = r#"{"x":[{"\u0024serde_json::private::Number":"1"}]}"#;
        assert_eq!(defects(reserved), [TextDefect::ReservedMember]);
        let both = r#"{"a":1,"a":1e999}"#;
        assert_eq!(defects(both), [TextDefect::Syntax, TextDefect::DuplicateMember]);
        assert_eq!(defects(r#"{"x":1,"a":1e999"#), [TextDefect::Syntax]);
    }

    #[test]
    fn counts_members_and_depth() {
        let members = |count: usize| {
            let names: Vec<_> = (1..count).map(|name| format!(r#""{name}":0"#)).collect();
            format!(r#"{{"x":{{{}}}}}"#, names.join(","))
        };
        assert_eq!(defects(members(8)), []);
        assert_eq!(defects(members(9)), [TextDefect::TooManyMembers]);
        let broken = members(9).replace("\"8\":0", "\"8");
        assert_eq!(defects(broken), [TextDefect::Syntax, TextDefect::TooManyMembers]);

        let nested =
            |depth: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert_eq!(defects(nested(127)), []);
        assert_eq!(defects(nested(128)), [TextDefect::Syntax]);
    }
}
