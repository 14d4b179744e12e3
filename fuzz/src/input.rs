//! The layout of a fuzz input, so that a seed is readable and a mutation stays local.
//!
//! The first line has options, one byte for each; `0` is the default, and so is every option after
//! the end of the line. The second line is a header, the rest a payload.

/// An input, split into its parts.
#[derive(Clone, Debug)]
pub struct Input<'d> {
    /// The first line.
    pub options: Options<'d>,
    /// The second line.
    pub header: &'d [u8],
    /// The rest.
    pub payload: &'d [u8],
}

impl<'d> Input<'d> {
    /// Splits at the first two line ends.
    pub fn new(data: &'d [u8]) -> Self {
        let (options, rest) = line(data);
        let (header, payload) = line(rest);
        Self { options: Options(options), header, payload }
    }
}

fn line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[]),
    }
}

/// Choices that have not been made yet.
#[derive(Clone, Debug)]
pub struct Options<'d>(&'d [u8]);

impl<'d> Options<'d> {
    /// Makes one choice of each byte.
    pub fn new(bytes: &'d [u8]) -> Self {
        Self(bytes)
    }

    /// Returns whether no choices are left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the next byte; `0` after the end.
    pub fn byte(&mut self) -> u8 {
        let (&byte, rest) = self.0.split_first().unwrap_or((&b'0', &[]));
        self.0 = rest;
        byte
    }

    /// Returns the next choice among `count`; the first after the end.
    pub fn below(&mut self, count: u8) -> u8 {
        self.byte().wrapping_sub(b'0') % count
    }

    /// Returns one of `list`.
    pub fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        let count = u8::try_from(list.len()).expect("lists are short");
        list[usize::from(self.below(count))].clone()
    }

    /// Returns some elements of `list`, by one bit for each. The list has at most eight elements.
    pub fn some_of<T: Clone>(&mut self, list: &[T]) -> Vec<T> {
        let bits = self.below(u8::MAX);
        let chosen = |index: usize| bits.checked_shr(u32::try_from(index).expect("small"));
        let chosen = |index: usize| chosen(index).is_some_and(|bits| bits & 1 == 1);
        list.iter()
            .enumerate()
            .filter(|(index, _)| chosen(*index))
            .map(|(_, one)| one.clone())
            .collect()
    }
}

/// Replaces `@` and the letter of a time in a text by its digits.
pub fn fill_in(text: &[u8], times: &[(u8, String)]) -> Vec<u8> {
    let mut filled = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        let time = times.iter().find(|(letter, _)| byte == b'@' && behind.first() == Some(letter));
        if let Some((_, digits)) = time {
            filled.extend_from_slice(digits.as_bytes());
            rest = &behind[1..];
        } else {
            filled.push(byte);
            rest = behind;
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_two_lines_and_a_rest() {
        let mut input = Input::new(b"02z\n{}\na\nb");
        assert_eq!((input.header, input.payload), (&b"{}"[..], &b"a\nb"[..]));
        let choices: Vec<_> = (0..4).map(|_| input.options.below(3)).collect();
        assert_eq!(choices, [0, 2, (b'z' - b'0') % 3, 0]);

        let mut input = Input::new(b"51");
        assert_eq!((input.header, input.payload), (&b""[..], &b""[..]));
        assert_eq!(input.options.some_of(&['a', 'b', 'c']), ['a', 'c']);
        assert_eq!(input.options.pick(&['x', 'y']), 'y');
    }

    #[test]
    fn times_are_filled_in() {
        let times = [(b'n', "17".to_owned())];
        assert_eq!(fill_in(b"{\"exp\":@n.5,\"a\":\"@x@", &times), b"{\"exp\":17.5,\"a\":\"@x@");
    }
}
