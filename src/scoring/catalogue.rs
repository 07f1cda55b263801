//! What a text may speak of: brands by their aliases, aspects by their trigger words. Pure.
//!
//! A catalogue is a TOML file:
//!
//! ```toml
//! default_aspects = true          # keep Arom's own aspects, which is what happens if this is left out
//!
//! [[brands]]
//! id = "doi-kafae"                # what answers call it
//! name = "กาแฟดอย"                # for people; the id if left out
//! aliases = ["กาแฟดอย", "Doi Kafae", "กาแฟโดย"]
//! except = ["กาแฟดอยช้าง"]         # phrases with an alias in them that mean something else
//!
//! [[aspects]]
//! id = "price"                    # one of Arom's own: these triggers are added to it
//! triggers = ["ตังค์"]
//! ```
//!
//! A phrase of the file goes before the same phrase of Arom's own aspects.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::text::Phrases;

/// Arom's own aspects.
const ASPECTS: &str = include_str!("aspects.toml");

/// Longest id of a target.
const MAX_ID_BYTES: usize = 128;

/// What kind of thing a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// A company, shop or product.
    Brand,
    /// A side of what is offered, such as price or service.
    Aspect,
}

/// Something that a text may speak of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What the catalogue calls it.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Brand or aspect.
    pub kind: TargetKind,
}

/// Targets, and how to find them.
#[derive(Debug)]
pub struct Catalogue {
    targets: Vec<(Arc<Target>, Words)>,
    /// What each of the phrases means; nothing, if it only hides others.
    meanings: Vec<Option<usize>>,
    phrases: Phrases,
}

/// The words of a target, as they were written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Words {
    meant: Vec<String>,
    except: Vec<String>,
}

/// Why a catalogue was refused.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// It is not TOML, or not a catalogue.
    #[error("is no catalogue")]
    Parse(#[source] Box<toml::de::Error>),
    /// All that is wrong with it, each with its line.
    #[error("is refused:\n  {}", .0.join("\n  "))]
    Invalid(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default_aspects: Option<bool>,
    #[serde(default)]
    brands: Vec<Brand>,
    #[serde(default)]
    aspects: Vec<Aspect>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Brand {
    id: Spanned<String>,
    name: Option<String>,
    aliases: Vec<Spanned<String>>,
    #[serde(default)]
    except: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Aspect {
    id: Spanned<String>,
    name: Option<String>,
    triggers: Vec<Spanned<String>>,
    #[serde(default)]
    except: Vec<Spanned<String>>,
}

impl Default for Catalogue {
    /// Arom's own aspects and no brand.
    fn default() -> Self {
        Self::parse("").expect("the aspects that ship with Arom are a catalogue")
    }
}

impl PartialEq for Catalogue {
    fn eq(&self, other: &Self) -> bool {
        self.targets == other.targets
    }
}

impl Eq for Catalogue {}

impl Catalogue {
    /// Reads a catalogue.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, each with its line.
    ///
    /// ```
    /// let file = "[[brands]]\nid = \"doi\"\naliases = [\"กาแฟดอย\", \"Doi Kafae\"]";
    /// let catalogue = arom::scoring::Catalogue::parse(file).expect("a catalogue");
    /// assert!(catalogue.targets().any(|target| target.id == "doi"));
    /// ```
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let mut reader = Reader { text, ..Reader::default() };
        let file = parse(text)?;
        reader.read(file.brands, file.aspects);
        if file.default_aspects.unwrap_or(true) {
            // What the file says of a phrase goes before this.
            let own = parse(ASPECTS)?;
            let mut shipped = Reader { text: ASPECTS, ..Reader::default() };
            shipped.read(own.brands, own.aspects);
            reader.add(shipped);
        }
        reader.finish()
    }

    /// Everything that is looked for, brands first, each in the order of the file.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().map(|(target, _)| target.as_ref())
    }

    /// The aliases or triggers of a target.
    #[cfg(test)]
    pub(super) fn words_of(&self, id: &str) -> &[String] {
        self.targets.iter().find(|(target, _)| target.id == id).map_or(&[], |(_, words)| &words.meant)
    }

    /// The target of that number.
    pub(super) fn target(&self, number: usize) -> Option<&Arc<Target>> {
        self.targets.get(number).map(|(target, _)| target)
    }

    /// Which targets a normalised text names, by number, and where, in its order.
    pub(super) fn find(&self, text: &str, words: &[Range<usize>]) -> Vec<(usize, Range<usize>)> {
        let meaning = |(phrase, range)| Some(((*self.meanings.get(phrase)?)?, range));
        self.phrases.find(text, words).into_iter().filter_map(meaning).collect()
    }

    /// The whole as a catalogue file.
    pub fn to_toml(&self) -> String {
        let list = |words: &[String]| {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            format!("[{}]", words.join(", "))
        };
        let mut text = "default_aspects = false # they are below, if they are in force\n".to_owned();
        for (target, words) in &self.targets {
            let (table, phrases) = match target.kind {
                TargetKind::Brand => ("brands", "aliases"),
                TargetKind::Aspect => ("aspects", "triggers"),
            };
            let (id, name) = (quoted(&target.id), quoted(&target.name));
            text.push_str(&format!("\n[[{table}]]\nid = {id}\nname = {name}\n"));
            text.push_str(&format!("{phrases} = {}\n", list(&words.meant)));
            if !words.except.is_empty() {
                text.push_str(&format!("except = {}\n", list(&words.except)));
            }
        }
        text
    }
}

fn parse(text: &str) -> Result<File, CatalogueError> {
    toml::from_str(text).map_err(|error| CatalogueError::Parse(Box::new(error)))
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A catalogue that is being read.
#[derive(Default)]
struct Reader<'a> {
    text: &'a str,
    targets: Vec<(Target, Words)>,
    /// Whose word each spelling is, and whether it is meant or an exception.
    meanings: BTreeMap<String, (usize, bool)>,
    /// The ids of all targets.
    ids: HashSet<String>,
    faults: Vec<String>,
    /// Faults that are counted and not listed: finding the line of each takes as long as the file is.
    more_faults: usize,
}

/// Faults that are listed.
const FAULTS: usize = 20;

impl Reader<'_> {
    fn read(&mut self, brands: Vec<Brand>, aspects: Vec<Aspect>) {
        for Brand { id, name, aliases, except } in brands {
            self.target(TargetKind::Brand, &id, name, aliases, except);
        }
        for Aspect { id, name, triggers, except } in aspects {
            self.target(TargetKind::Aspect, &id, name, triggers, except);
        }
    }

    fn target(
        &mut self,
        kind: TargetKind,
        id: &Spanned<String>,
        name: Option<String>,
        meant: Vec<Spanned<String>>,
        except: Vec<Spanned<String>>,
    ) {
        let id_text = id.get_ref().clone();
        if !self.ids.insert(id_text.clone()) {
            self.fault(id, &format!("id {id_text:?} is taken by another target"));
        }
        let plain = |ch: char| ch.is_alphanumeric() || "-_.".contains(ch) || is_thai_mark(ch);
        if id_text.is_empty() || id_text.len() > MAX_ID_BYTES || !id_text.chars().all(plain) {
            let wanted = "letters, digits, '-', '_' and '.'";
            self.fault(id, &format!("id {id_text:?}: use 1 to {MAX_ID_BYTES} bytes of {wanted}"));
        }
        if meant.is_empty() {
            self.fault(id, &format!("{id_text:?} has no words by which it could be found"));
        }
        let number = self.targets.len();
        let target = Target { name: name.unwrap_or_else(|| id_text.clone()), id: id_text, kind };
        self.targets.push((target, Words::default()));
        let meant = meant.into_iter().map(|phrase| self.phrase(phrase, number, true)).collect();
        let except = except.into_iter().map(|phrase| self.phrase(phrase, number, false)).collect();
        if let Some((_, words)) = self.targets.last_mut() {
            *words = Words { meant, except };
        }
    }

    fn phrase(&mut self, phrase: Spanned<String>, target: usize, meant: bool) -> String {
        let spelling = Phrases::spelling(phrase.get_ref());
        if spelling.chars().any(char::is_alphanumeric) {
            let (owner, also) = *self.meanings.entry(spelling).or_insert((target, meant));
            if (owner, also) != (target, meant) {
                let owner = self.targets.get(owner).map_or("", |(target, _)| target.id.as_str());
                self.fault(&phrase, &format!("{:?} is a word of {owner:?} already", phrase.get_ref()));
            }
        } else {
            self.fault(&phrase, &format!("{:?} has no letters", phrase.get_ref()));
        }
        phrase.into_inner()
    }

    fn fault(&mut self, at: &Spanned<String>, fault: &str) {
        if self.faults.len() == FAULTS {
            self.more_faults += 1;
            return;
        }
        let line = self.text.bytes().take(at.span().start).filter(|byte| *byte == b'\n').count() + 1;
        self.faults.push(format!("line {line}: {fault}"));
    }

    /// Adds what another has, where this says nothing else.
    fn add(&mut self, other: Self) {
        let mut numbers = Vec::with_capacity(other.targets.len());
        for (target, mut words) in other.targets {
            let free = |word: &String| !self.meanings.contains_key(&Phrases::spelling(word));
            words.meant.retain(free);
            words.except.retain(free);
            let same = |(own, _): &(Target, Words)| own.id == target.id && own.kind == target.kind;
            match self.targets.iter().position(same) {
                Some(number) => {
                    numbers.push(number);
                    if let Some((own, own_words)) = self.targets.get_mut(number) {
                        own_words.meant.extend(words.meant);
                        own_words.except.extend(words.except);
                        if own.name == own.id {
                            own.name = target.name;
                        }
                    }
                }
                None => {
                    numbers.push(self.targets.len());
                    self.targets.push((target, words));
                }
            }
        }
        for (spelling, (number, meant)) in other.meanings {
            if let Some(number) = numbers.get(number) {
                self.meanings.entry(spelling).or_insert((*number, meant));
            }
        }
    }

    fn finish(mut self) -> Result<Catalogue, CatalogueError> {
        let meaning =
            |(spelling, (number, meant)): (String, (usize, bool))| (spelling, meant.then_some(number));
        let (spellings, meanings): (Vec<String>, Vec<_>) = self.meanings.into_iter().map(meaning).unzip();
        if self.more_faults > 0 {
            self.faults.push(format!("{} more faults", self.more_faults));
        }
        let phrases = Phrases::new(&spellings).map_err(|fault| self.faults.push(fault));
        match phrases {
            Ok(phrases) if self.faults.is_empty() => {
                let targets = self.targets.into_iter().map(|(target, words)| (Arc::new(target), words));
                Ok(Catalogue { targets: targets.collect(), meanings, phrases })
            }
            _ => Err(CatalogueError::Invalid(self.faults)),
        }
    }
}

fn is_thai_mark(ch: char) -> bool {
    ('\u{E31}'..='\u{E4E}').contains(&ch)
}
