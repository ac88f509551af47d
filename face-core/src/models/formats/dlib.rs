//! dlib's serialisation.
//!
//! Integers are a control byte (low four bits: number of bytes, highest bit: negative) and then that many bytes of the
//! magnitude, the lowest first. Floating-point numbers are an integer mantissa and an integer exponent of two. Strings
//! and lists begin with their length. Tensors are a version, four sides and raw little-endian `f32`. Documented in dlib's
//! `serialize.h`, `float_details.h`, `matrix.h` and `cuda/tensor.h`.

use crate::error::{Error, Result};

/// Reads one value after the other, never beyond the end.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    model: &'static str,
    role: &'static str,
}

/// A four-dimensional array.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub(super) shape: [usize; 4],
    pub(super) data: Vec<f32>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], model: &'static str, role: &'static str) -> Self {
        Self { bytes, at: 0, model, role }
    }

    /// The error for a file that holds something else here.
    pub(super) fn unexpected(&self, expected: impl Into<String>, actual: impl std::fmt::Display) -> Error {
        Error::ModelInvalid {
            model: self.model.to_owned(),
            role: self.role,
            expected: expected.into(),
            actual: format!("{actual} before byte {}", self.at),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        if count > rest.len() {
            return Err(self.unexpected(format!("{count} more bytes"), format!("{}", rest.len())));
        }
        self.at += count;
        Ok(&rest[..count])
    }

    pub(super) fn integer(&mut self) -> Result<i64> {
        let control = self.take(1)?[0];
        let (count, negative) = (usize::from(control & 0x0F), control & 0x80 != 0);
        if count > 8 || control & 0x70 != 0 {
            return Err(self.unexpected("the control byte of an integer", format!("{control:#04x}")));
        }
        let mut magnitude = [0; 8];
        magnitude[..count].copy_from_slice(self.take(count)?);
        let magnitude = i64::from_le_bytes(magnitude);
        if magnitude < 0 {
            return Err(self.unexpected("an integer of 63 bits", "a larger one"));
        }
        Ok(if negative { -magnitude } else { magnitude })
    }

    /// An integer that must have this value.
    pub(super) fn expect(&mut self, what: &str, value: i64) -> Result<()> {
        match self.integer()? {
            actual if actual == value => Ok(()),
            actual => Err(self.unexpected(format!("{what} {value}"), actual)),
        }
    }

    /// The number of items that follow, each of at least `item_bytes`: more than the file can hold is an error.
    pub(super) fn count(&mut self, what: &str, item_bytes: usize) -> Result<usize> {
        let count = self.integer()?;
        let room = (self.bytes.len() - self.at) / item_bytes.max(1);
        match usize::try_from(count) {
            Ok(count) if count <= room => Ok(count),
            _ => Err(self.unexpected(format!("at most {room} {what}"), count)),
        }
    }

    pub(super) fn float(&mut self) -> Result<f32> {
        let (mantissa, exponent) = (self.integer()?, self.integer()?);
        // Exponents from 32000 on stand for infinities and NaN, which no model holds.
        let exponent = i32::try_from(exponent).ok().filter(|e| (-1200..1200).contains(e));
        let value = exponent.map(|e| mantissa as f64 * 2.0_f64.powi(e)).filter(|v| (*v as f32).is_finite());
        value.map(|v| v as f32).ok_or_else(|| self.unexpected("a finite number", "another"))
    }

    pub(super) fn boolean(&mut self) -> Result<bool> {
        match self.take(1)?[0] {
            b'0' => Ok(false),
            b'1' => Ok(true),
            other => Err(self.unexpected("a truth value", format!("{other:#04x}"))),
        }
    }

    pub(super) fn string(&mut self) -> Result<&'a str> {
        let length = self.count("letters", 1)?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.unexpected("a text", "other bytes"))
    }

    /// Whether a text of that kind comes next; nothing is read.
    pub(super) fn peek_string(&self) -> Option<&'a str> {
        Reader { at: self.at, ..*self }.string().ok().filter(|text| text.len() > 3)
    }

    /// A column of numbers.
    pub(super) fn column(&mut self) -> Result<Vec<f32>> {
        // dlib marks its newer format by negative sides.
        let (rows, columns) = (self.integer()?.unsigned_abs(), self.integer()?.unsigned_abs());
        let room = (self.bytes.len() - self.at) / 2;
        if columns != 1 || rows > room as u64 {
            return Err(self.unexpected(format!("a column of at most {room} numbers"), format!("{rows} x {columns}")));
        }
        (0..rows).map(|_| self.float()).collect()
    }

    pub(super) fn tensor(&mut self) -> Result<Tensor> {
        self.expect("a tensor of version", 2)?;
        let shape = self.sides()?;
        let count = shape.iter().try_fold(1_usize, |product, side| product.checked_mul(*side));
        let bytes = count.and_then(|count| count.checked_mul(4));
        let Some(bytes) = bytes else { return Err(self.unexpected("a tensor of this file", format!("{shape:?}"))) };
        let data = self.take(bytes)?.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
        Ok(Tensor { shape, data })
    }

    /// The shape of a part of a tensor.
    pub(super) fn alias(&mut self) -> Result<[usize; 4]> {
        self.expect("an alias of version", 1)?;
        self.sides()
    }

    fn sides(&mut self) -> Result<[usize; 4]> {
        let mut sides = [0; 4];
        for side in &mut sides {
            let value = self.integer()?;
            *side = usize::try_from(value).map_err(|_| self.unexpected("a side of a tensor", value))?;
        }
        Ok(sides)
    }

    /// The file must end here.
    pub(super) fn finish(&self) -> Result<()> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            rest => Err(self.unexpected("the end of the file", format!("{rest} more bytes"))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8]) -> Reader<'_> {
        Reader::new(bytes, "a test", "a test")
    }

    #[test]
    fn integers_of_every_width_and_sign() {
        let cases: [(&[u8], i64); 6] = [
            (&[0], 0),
            (&[1, 7], 7),
            (&[0x81, 7], -7),
            (&[2, 0x34, 0x12], 0x1234),
            (&[8, 1, 0, 0, 0, 0, 0, 0, 0x40], 0x4000_0000_0000_0001),
            (&[0x84, 0, 0, 0, 0x80], -0x8000_0000),
        ];
        for (bytes, value) in cases {
            let mut reader = reader(bytes);
            assert_eq!(reader.integer().unwrap(), value);
            reader.finish().unwrap();
        }
        for bad in [&[][..], &[2, 1], &[9, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[0x11, 1], &[8, 0, 0, 0, 0, 0, 0, 0, 0x80]] {
            assert!(matches!(reader(bad).integer(), Err(Error::ModelInvalid { .. })), "{bad:?}");
        }
    }

    #[test]
    fn floats_are_mantissa_and_exponent() {
        assert_eq!(reader(&[1, 3, 0x81, 1]).float().unwrap(), 1.5);
        assert_eq!(reader(&[0x81, 1, 1, 10]).float().unwrap(), -1024.0);
        for bad in [&[1, 1, 2, 0x00, 0x7D][..], &[1, 1, 2, 200, 0], &[1, 1]] {
            assert!(reader(bad).float().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lengths_beyond_the_file_are_refused_before_anything_is_allocated() {
        let vast = [8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F];
        assert!(reader(&vast).string().is_err());
        assert!(reader(&vast).count("items", 1).is_err());
        assert!(reader(&[&vast[..], &[1, 1]].concat()).column().is_err());
        let sides = vast.repeat(4);
        assert!(reader(&[&[1, 2][..], &sides].concat()).tensor().is_err());
        assert!(reader(&[0x81, 5, 0, 0]).count("items", 1).is_err());
    }

    #[test]
    fn tensors_and_strings() {
        let mut bytes = vec![1, 2, 1, 1, 1, 2, 1, 1, 1, 1];
        bytes.extend(1.5_f32.to_le_bytes());
        bytes.extend((-2.0_f32).to_le_bytes());
        bytes.extend([1, 4]);
        bytes.extend(b"con_");
        let mut reader = reader(&bytes);
        assert_eq!(reader.tensor().unwrap(), Tensor { shape: [1, 2, 1, 1], data: vec![1.5, -2.0] });
        assert_eq!(reader.peek_string(), Some("con_"));
        assert_eq!(reader.string().unwrap(), "con_");
        reader.finish().unwrap();
    }
}
