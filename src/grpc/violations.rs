//! The fields of a request that are at fault: the first of them by name, the others by count.
//!
//! A client reads an error from the trailers of a call, and most clients refuse trailers of more than 8 KB: the call then
//! ends with another error than the one sent. So the list is bounded, and no text of the request is repeated in it.

use tonic_types::FieldViolation;

use super::status::Failure;

/// Most violations that one answer names.
pub(super) const NAMED: usize = 16;

/// Most bytes of the name of a field.
const FIELD_BYTES: usize = 96;

/// Most bytes of a description.
const DESCRIPTION_BYTES: usize = 256;

/// Most bytes of all names and descriptions of one answer.
const ALL_BYTES: usize = 2560;

/// Most bytes of an identifier of the request that a description repeats.
const SHOWN_BYTES: usize = 48;

/// The fields of a request that are at fault.
#[derive(Debug, Default)]
pub(super) struct Violations {
    named: Vec<FieldViolation>,
    bytes: usize,
    others: usize,
}

impl Violations {
    /// A single one.
    pub(super) fn of(field: &str, problem: impl AsRef<str>) -> Self {
        let mut violations = Self::default();
        violations.add(field, problem);
        violations
    }

    /// Adds a field and what is wrong with it; only counts it if enough are named.
    pub(super) fn add(&mut self, field: &str, problem: impl AsRef<str>) {
        self.add_all([FieldViolation::new(field, problem.as_ref())], 0);
    }

    /// Adds those of a part of the request, under the name that `field` gives each of their fields.
    pub(super) fn append(&mut self, part: Self, field: impl Fn(&str) -> String) {
        let others = part.others;
        let renamed = |found: FieldViolation| FieldViolation { field: field(&found.field), ..found };
        self.add_all(part.named.into_iter().map(renamed), others);
    }

    fn add_all(&mut self, found: impl IntoIterator<Item = FieldViolation>, others: usize) {
        for FieldViolation { field, description, .. } in found {
            let (field, description) = (cut(&field, FIELD_BYTES), cut(&description, DESCRIPTION_BYTES));
            let bytes = self.bytes + field.len() + description.len();
            if self.others == 0 && self.named.len() < NAMED && bytes <= ALL_BYTES {
                self.bytes = bytes;
                self.named.push(FieldViolation::new(field, description));
            } else {
                self.others += 1;
            }
        }
        self.others += others;
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// How many there are, those without a name included.
    pub(super) fn count(&self) -> usize {
        self.named.len() + self.others
    }

    /// The value, if there are none.
    pub(super) fn none_or<T>(self, value: T) -> Result<T, Failure> {
        if self.is_empty() { Ok(value) } else { Err(self.into()) }
    }

    /// Those that are named, and how many others there are.
    pub(super) fn into_parts(self) -> (Vec<FieldViolation>, usize) {
        (self.named, self.others)
    }
}

impl FromIterator<FieldViolation> for Violations {
    fn from_iter<T: IntoIterator<Item = FieldViolation>>(found: T) -> Self {
        let mut violations = Self::default();
        violations.add_all(found, 0);
        violations
    }
}

impl From<Violations> for Failure {
    fn from(violations: Violations) -> Self {
        Self::Invalid(violations)
    }
}

/// An identifier of the request in quotes, as much of it as an error may repeat.
pub(super) fn shown(id: &str) -> String {
    format!("{:?}", cut(id, SHOWN_BYTES))
}

/// The text, or as much of its beginning as fits into so many bytes with an ellipsis.
pub(super) fn cut(text: &str, most: usize) -> String {
    const ELLIPSIS: char = '…';
    if text.len() <= most {
        return text.to_owned();
    }
    let room = most.saturating_sub(ELLIPSIS.len_utf8());
    let mut cut: String = text.get(..text.floor_char_boundary(room)).unwrap_or_default().to_owned();
    cut.push(ELLIPSIS);
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_are_named_and_the_others_counted() {
        let mut violations = Violations::default();
        for at in 0..1_000_000 {
            violations.add(&format!("messages[{at}].role"), "is no role");
        }
        assert_eq!(violations.count(), 1_000_000);
        let (named, others) = violations.into_parts();
        assert_eq!((named.len(), others), (NAMED, 1_000_000 - NAMED));
        assert_eq!(named.last().map(|last| last.field.as_str()), Some("messages[15].role"));
    }

    #[test]
    fn names_and_descriptions_are_bounded_however_long_they_are() {
        let mut violations = Violations::default();
        for _ in 0..NAMED {
            violations.add(&"ก".repeat(100_000), "ข".repeat(100_000));
        }
        assert_eq!(violations.count(), NAMED);
        let (named, _) = violations.into_parts();
        let bytes: usize = named.iter().map(|found| found.field.len() + found.description.len()).sum();
        assert!(!named.is_empty() && bytes <= ALL_BYTES, "{bytes}");
    }

    #[test]
    fn those_of_a_part_keep_their_count() {
        let mut part = Violations::default();
        (0..20).for_each(|_| part.add("event_id", "is empty"));
        let mut whole = Violations::of("text", "is too long");
        whole.append(part, |field| format!("recording.{field}"));
        assert_eq!(whole.count(), 21);
        let (named, _) = whole.into_parts();
        assert_eq!(named.get(1).map(|found| found.field.as_str()), Some("recording.event_id"));
    }

    #[test]
    fn a_cut_text_ends_between_characters() {
        assert_eq!(cut("ดีมาก", 15), "ดีมาก");
        assert_eq!(cut("ดีมากๆ", 17), "ดีมา…");
        assert_eq!(shown(&"x".repeat(100)).len(), SHOWN_BYTES + 2);
    }
}
