//! Claims sets and headers as text: usually what an issuer would write, in every spelling that JSON
//! has, and now and then an invalid one.
//!
//! A fuzzer that mutates text rarely hits the time at which a decision changes. This module writes
//! such times on purpose.

use std::collections::HashSet;

use arbitrary::{Result, Unstructured};

use crate::expectations::{CLAIMS, NAMES, TYPS};

/// An `exp` that no clock of a trial has reached, except the last ones.
pub const FAR_EXP: (&str, &str) = ("exp", "1e11");

/// Returns an object that usually has the claims `base`, whose values are JSON, and other claims
/// beside or instead of them. `turning_points` are times in seconds.
///
/// # Errors
/// None: where the bytes run out, the first choice is made.
pub fn claims(
    u: &mut Unstructured<'_>,
    base: &[(&str, &str)],
    turning_points: &[(u8, i128)],
) -> Result<String> {
    let (mut members, mut used) = (Vec::new(), HashSet::new());
    // Most tokens should pass the first check.
    if u.ratio(15, 16)? {
        members.extend(base.iter().map(|&(name, value)| (name, format!("\"{name}\":{value}"))));
    }
    for _ in 0..u.int_in_range(0..=6)? {
        let name = *u.choose(&[
            "exp", "nbf", "iat", "iss", "aud", "sub", "jti", "nbf", "iat", "aud", "role", "rôle",
            "", "EXP", "exp\0",
        ])?;
        if used.insert(name) {
            members.retain(|(other, _)| *other != name);
        } else if u.ratio(15, 16)? {
            continue;
        }
        let value = if u.ratio(1, 16)? {
            odd_value(u)?
        } else {
            match name {
                "exp" | "nbf" | "iat" => time(u, turning_points)?,
                "aud" if u.arbitrary()? => list(u)?,
                "role" => value(u, 3)?,
                _ => name_text(u, &NAMES)?,
            }
        };
        members.push((name, format!("{}:{value}", text(u, name)?)));
    }
    let members: Vec<_> = members.into_iter().map(|(_, member)| member).collect();
    object(u, &members)
}

/// Returns a header for the algorithm `alg`.
///
/// # Errors
/// The same as those of [`claims`].
pub fn header(u: &mut Unstructured<'_>, alg: &str) -> Result<String> {
    let (mut members, mut used) = (Vec::new(), HashSet::from(["alg"]));
    if u.ratio(15, 16)? {
        let alg =
            if u.ratio(7, 8)? { alg } else { *u.choose(&["none", "HS256", "HS512", "hs256"])? };
        members.push(format!("{}:{}", text(u, "alg")?, text(u, alg)?));
    }
    for _ in 0..u.int_in_range(0..=3)? {
        let name =
            *u.choose(&["typ", "kid", "typ", "kid", "cty", "jku", "x", "alg", "crit", "b64"])?;
        if !used.insert(name) && u.ratio(15, 16)? {
            continue;
        }
        let value = if u.ratio(1, 16)? {
            odd_value(u)?
        } else {
            match name {
                "kid" => name_text(u, &["a", "b", "c", "", "é\"\\", "A"])?,
                "typ" => name_text(u, &TYPS)?,
                _ => value(u, 3)?,
            }
        };
        members.push(format!("{}:{value}", text(u, name)?));
    }
    if u.ratio(1, 16)? {
        // About the maximum number.
        let count = u.int_in_range(60..=66)?;
        members.extend((0..count).map(|name| format!(r#""{name}":0"#)));
    }
    object(u, &members)
}

/// Returns a value of serde_json, in which every number is a double.
///
/// # Errors
/// The same as those of [`claims`].
pub fn json_value(u: &mut Unstructured<'_>, depth: u8) -> Result<serde_json::Value> {
    use serde_json::Value;

    Ok(match u.int_in_range(0..=if depth == 0 { 5 } else { 7 })? {
        0 => Value::Null,
        1 => Value::Bool(u.arbitrary()?),
        2 => Value::from(u.arbitrary::<u64>()?),
        3 => Value::from(u.arbitrary::<i64>()?),
        4 => Value::from(u.arbitrary::<f64>()?),
        5 => Value::from(u.arbitrary::<String>()?),
        6 => {
            (0..u.int_in_range(0..=4)?).map(|_| json_value(u, depth - 1)).collect::<Result<_>>()?
        }
        _ => {
            let member = |_| Ok((u.arbitrary::<String>()?, json_value(u, depth - 1)?));
            Value::Object((0..=3).map(member).collect::<Result<_>>()?)
        }
    })
}

/// Returns a time around which a decision changes, in some spelling.
fn time(u: &mut Unstructured<'_>, turning_points: &[(u8, i128)]) -> Result<String> {
    if u.ratio(1, 32)? {
        return far_number(u);
    }
    if u.ratio(1, 8)? {
        let odd = ["0", "-0.0", "1e30", "-1e30", "1e308", "1e-400", "18446744073709551616", "1e15"];
        return Ok((*u.choose(&odd)?).to_owned());
    }
    let (_, instant) = u.choose(turning_points)?;
    let mut spelled = (instant + u.choose(&[0, 1, -1, 2, -2])?).to_string();
    // A fraction, added to the magnitude of whole seconds.
    let more = *u.choose(&["", "", "1", "5", "9", "0", "0000000000000001", "9999999999999999"])?;
    if !more.is_empty() {
        spelled = format!("{spelled}.{more}");
    }
    let shift: usize = u.int_in_range(0..=8)?;
    if shift == 0 || spelled.contains('.') {
        return Ok(spelled);
    }
    // The same number with an exponent.
    let (sign, digits) = match spelled.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", &*spelled),
    };
    let e = u.choose(&["e", "E", "e+"])?;
    Ok(match digits.split_at_checked(digits.len().saturating_sub(shift)) {
        Some((whole, fraction)) if !whole.is_empty() => {
            format!("{sign}{whole}.{fraction}{e}{shift}")
        }
        _ => format!("{sign}{digits}{}e-{shift}", "0".repeat(shift)),
    })
}

fn list(u: &mut Unstructured<'_>) -> Result<String> {
    // More than a few, because the verifier keeps the first ones in another place than the rest.
    let names =
        (0..u.int_in_range(0..=6)?).map(|_| name_text(u, &NAMES)).collect::<Result<Vec<_>>>()?;
    Ok(format!("[{}]", names.join(",")))
}

fn name_text(u: &mut Unstructured<'_>, names: &[&str]) -> Result<String> {
    let name = *u.choose(names)?;
    text(u, name)
}

/// Returns a string, with some characters escaped unnecessarily.
fn text(u: &mut Unstructured<'_>, text: &str) -> Result<String> {
    let escapes = u.ratio(1, 4)?;
    let mut spelled = String::from('"');
    for char in text.chars() {
        if matches!(char, '"' | '\\' | '\0'..='\u{1f}') || (escapes && u.arbitrary()?) {
            let upper = escapes && u.arbitrary()?;
            for unit in char.encode_utf16(&mut [0; 2]) {
                let escape =
                    if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") };
                spelled.push_str(&escape);
            }
        } else {
            spelled.push(char);
        }
    }
    spelled.push('"');
    Ok(spelled)
}

/// Returns any strict value.
fn value(u: &mut Unstructured<'_>, depth: u8) -> Result<String> {
    Ok(match u.int_in_range(0..=if depth == 0 { 4 } else { 6 })? {
        0 => name_text(u, &NAMES)?,
        1 => "null".into(),
        2 => "true".into(),
        3 => u.choose(&["0", "-0", "1.5", "2e3", "-1e-7", "18446744073709551615"])?.to_string(),
        4 => name_text(u, &CLAIMS)?,
        5 if u.ratio(1, 4)? => far_number(u)?,
        5 => {
            let elements = (0..u.int_in_range(0..=3)?)
                .map(|_| value(u, depth - 1))
                .collect::<Result<Vec<_>>>()?;
            format!("[{}]", elements.join(", "))
        }
        _ => {
            let names = CLAIMS.iter().take(u.int_in_range(0..=4)?);
            let members: Vec<_> = names
                .map(|name| Ok(format!("{}:{}", text(u, name)?, value(u, depth - 1)?)))
                .collect::<Result<_>>()?;
            object(u, &members)?
        }
    })
}

/// Returns a number at the end of the range, 1.797693134862315e308, shifted by an exponent.
fn far_number(u: &mut Unstructured<'_>) -> Result<String> {
    let digits = *u.choose(&[
        "1797693134862315",
        "1797693134862314",
        "179769313486231499999999999999999999",
        "179769313486231500000000000000000001",
        "17976931348623157",
        "17976931348623159",
    ])?;
    let zeros = "0".repeat(309 - digits.len());
    let shift = u.int_in_range(0..=400)?;
    let more = "0".repeat(shift);
    Ok(match u.int_in_range(0..=3)? {
        0 => format!("{digits}{zeros}"),
        1 => format!("0.{digits}e309"),
        2 => format!("-{digits}{zeros}{more}e-{shift}"),
        _ => format!("0.{more}{digits}e{}", 309 + shift),
    })
}

/// Returns a value of a type that no registered claim has, or one that every verifier must reject.
fn odd_value(u: &mut Unstructured<'_>) -> Result<String> {
    let depth = u.int_in_range(124..=128)?;
    let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    Ok(u.choose(&[
        "null",
        "true",
        "1",
        r#""1""#,
        "[]",
        "{}",
        "[null]",
        r#"["api",1]"#,
        r#"[["api"]]"#,
        r#"{"x":1,"x":2}"#,
        r#"[{"y":{"":0,"":0}}]"#,
        r#"{"x":1,"\u0078":2}"#,
        "1e309",
        "1.797693134862315e308",
        r#""\ud800""#,
        r#"["\udc00\ud800"]"#,
        "01",
        "NaN",
        "",
        deep.as_str(),
    ])?
    .to_string())
}

fn object(u: &mut Unstructured<'_>, members: &[String]) -> Result<String> {
    let space = *u.choose(&["", "", "", " ", "\t", "\r", "\n"])?;
    let (before, behind) = if u.ratio(1, 16)? {
        *u.choose(&[("\u{feff}", ""), ("", "x"), (" \n", " \n")])?
    } else {
        ("", "")
    };
    Ok(format!("{before}{{{space}{}{space}}}{behind}", members.join(&format!("{space},{space}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{expectations::Expectations, json::read_object};

    /// A generator that usually writes invalid JSON would only test the parser.
    #[test]
    fn most_generated_texts_are_strict() {
        let points = Expectations::at(crate::expectations::NOW).turning_points();
        let mut state = 1_u64;
        let (mut strict, mut tricky) = (0, 0);
        for _ in 0..2_000 {
            let noise: Vec<u8> = (0..256)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    state.to_be_bytes()[0]
                })
                .collect();
            let mut u = Unstructured::new(&noise);
            let header = header(&mut u, "HS256").unwrap();
            let claims = claims(&mut u, &[FAR_EXP], &points).unwrap();
            let good = read_object(claims.as_bytes(), usize::MAX).members.is_some()
                && read_object(header.as_bytes(), 64).members.is_some();
            *if good { &mut strict } else { &mut tricky } += 1;
        }
        assert!(strict > 1_000 && tricky > 400, "{strict} {tricky}");
    }
}
