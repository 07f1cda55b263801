//! Which column holds what: by the names that dumps give them, and by what is in them.

use std::fmt;
use std::ops::ControlFlow;

use jiff::Timestamp;
use serde_json::Value;

use super::{Cells, DumpError, Item, Reading, Source};
use crate::text::{DayOrder, day_order, moment, western};

/// What a column may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The words.
    Text,
    /// Who wrote them.
    Customer,
    /// What they are about.
    Brand,
    /// When they were written.
    Time,
    /// Stars, from 1 to 5.
    Rating,
    /// The dump's own name for the row.
    Id,
}

impl Role {
    /// In the order in which they are told.
    pub const ALL: [Self; 6] = [Self::Text, Self::Customer, Self::Brand, Self::Time, Self::Rating, Self::Id];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Customer => "customer",
            Self::Brand => "brand",
            Self::Time => "time",
            Self::Rating => "rating",
            Self::Id => "id",
        }
    }

    /// Names of such columns, the more telling first, without case, spaces and marks.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Text => &[
                "text",
                "reviewtext",
                "reviewbody",
                "reviewcontent",
                "review",
                "reviews",
                "commenttext",
                "comment",
                "comments",
                "content",
                "tweet",
                "fulltext",
                "message",
                "body",
                "caption",
                "post",
                "description",
                "ข้อความ",
                "รีวิว",
                "ความคิดเห็น",
                "ความเห็น",
                "คอมเมนต์",
                "เนื้อหา",
                "ข้อเสนอแนะ",
                "ความคิดเห็นเพิ่มเติม",
            ],
            Self::Customer => &[
                "customerid",
                "customer",
                "userid",
                "authorid",
                "reviewerid",
                "reviewer",
                "reviewername",
                "author",
                "authorname",
                "username",
                "user",
                "screenname",
                "fromname",
                "ลูกค้า",
                "ผู้ใช้",
                "ชื่อผู้ใช้",
                "ชื่อเล่น",
                "ผู้เขียน",
                "ผู้รีวิว",
            ],
            Self::Brand => &[
                "brand",
                "brandid",
                "brandname",
                "restaurantname",
                "shopname",
                "storename",
                "shop",
                "placename",
                "businessname",
                "productname",
                "restaurantid",
                "shopid",
                "storeid",
                "placeid",
                "productid",
                "แบรนด์",
                "ร้าน",
                "ชื่อร้าน",
                "ชื่อสินค้า",
                "สินค้า",
            ],
            Self::Time => &[
                "eventtime",
                "timestamp",
                "datetime",
                "createdat",
                "createdtime",
                "publishedat",
                "postedat",
                "reviewdate",
                "reviewtime",
                "commentdate",
                "commenttime",
                "date",
                "time",
                "ประทับเวลา",
                "เวลา",
                "วันที่",
                "วันเวลา",
                "วันที่รีวิว",
                "วันที่สั่งซื้อ",
            ],
            Self::Rating => &[
                "rating",
                "stars",
                "star",
                "starrating",
                "reviewrating",
                "ratingstar",
                "rate",
                "คะแนน",
                "คะแนนรีวิว",
                "ดาว",
            ],
            Self::Id => &[
                "reviewid",
                "commentid",
                "messageid",
                "tweetid",
                "postid",
                "eventid",
                "orderid",
                "id",
                "รหัส",
                "รหัสรีวิว",
            ],
        }
    }

    /// Whether a cell can be such.
    fn fits(self, cell: &Value) -> bool {
        let text = spelling(cell);
        let Some(text) = text.as_deref() else { return false };
        match self {
            Self::Text => !is_number(text),
            Self::Customer | Self::Brand | Self::Id => true,
            Self::Time => moment(text, DayOrder::default()).is_some(),
            Self::Rating => customary_rating(text).is_some(),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which column has which role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    roles: Vec<(Role, String)>,
    days: DayOrder,
}

/// Thai letters that a text of opinion has on average, at least, to be taken for one without a telling name.
const THAI_LETTERS: usize = 5;

impl Columns {
    /// By the names of the columns and some of their rows; `given` is what the user has said, and goes first. A column
    /// that is said to be "" is none.
    ///
    /// # Errors
    ///
    /// If there is no such column, or none that holds texts.
    pub fn find(names: &[String], rows: &[Cells], given: &[(Role, String)]) -> Result<Self, DumpError> {
        let all = || names.join(", ");
        let mut found = Vec::new();
        if let Some(twice) =
            Role::ALL.iter().find(|role| given.iter().filter(|(of, _)| of == *role).count() > 1)
        {
            return Err(DumpError::Columns(format!("{twice} is said twice; a dump has one column of each")));
        }
        for role in Role::ALL {
            let said = given.iter().find(|(of, _)| *of == role).map(|(_, name)| name);
            let column = match said {
                Some(name) if name.is_empty() => None,
                Some(name) if names.contains(name) => Some(name.clone()),
                Some(name) => {
                    return Err(DumpError::Columns(format!(
                        "there is no column {name:?} for {role}; there are: {}",
                        all()
                    )));
                }
                // A name without anything below it is better than none.
                None => named(role, names, rows)
                    .or_else(|| asked(role, names, rows))
                    .or_else(|| seen(role, names, rows))
                    .or_else(|| candidates(role, names, rows).next().cloned()),
            };
            if let Some(column) = column
                && (said.is_some() || !found.iter().any(|(_, taken)| *taken == column))
            {
                found.push((role, column));
            }
        }
        if !found.iter().any(|(role, _)| *role == Role::Text) {
            return Err(DumpError::Columns(format!(
                "no column looks like the texts; say which it is with --columns text=NAME, of: {}",
                all()
            )));
        }
        Ok(Self { roles: found, days: DayOrder::default() })
    }

    /// The column of a role.
    pub fn of(&self, role: Role) -> Option<&str> {
        self.roles.iter().find(|(of, _)| *of == role).map(|(_, name)| name.as_str())
    }

    /// What stands in the column of a role, as words; nothing if it is empty.
    pub fn cell(&self, role: Role, cells: &Cells) -> Option<String> {
        spelling(cells.get(self.of(role)?)?).filter(|text| !text.trim().is_empty())
    }

    /// When a row was written, or what stands there instead; nothing if nothing does.
    pub fn time(&self, cells: &Cells) -> Option<Result<Timestamp, String>> {
        let text = self.cell(Role::Time, cells)?;
        Some(moment(&text, self.days).ok_or(text))
    }

    /// Finds out whether days or months come first, where a dump leaves that open: by its first time that can only be
    /// one of the two.
    ///
    /// # Errors
    ///
    /// If the dump cannot be read.
    pub fn settle_days(&mut self, source: &Source) -> Result<(), DumpError> {
        let first = source.sample.iter().find_map(|cells| self.cell(Role::Time, cells));
        if first.is_none_or(|time| day_order(&time).is_none()) {
            return Ok(());
        }
        let mut found = None;
        source.read(&Reading::default(), &mut |item| {
            if let Item::Row(row) = item {
                found = self.cell(Role::Time, &row.cells).and_then(|time| day_order(&time)).flatten();
            }
            if found.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        self.days = found.unwrap_or_default();
        Ok(())
    }
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pair = |(role, name): &(Role, String)| match (role, self.days) {
            (Role::Time, DayOrder::MonthFirst) => format!("{role}={name} (month first)"),
            _ => format!("{role}={name}"),
        };
        f.write_str(&self.roles.iter().map(pair).collect::<Vec<_>>().join(", "))
    }
}

/// A name without case, spaces and marks.
fn plain(name: &str) -> String {
    name.chars().filter(|ch| ch.is_alphanumeric() || is_thai(*ch)).collect::<String>().to_lowercase()
}

/// Whether it is a name that dumps give to a column.
pub(super) fn is_known_name(name: &str) -> bool {
    let name = plain(name);
    Role::ALL.into_iter().any(|role| role.names().contains(&name.as_str()))
}

/// The columns with a name of the role and nothing that speaks against it, the more telling first.
fn candidates<'a>(role: Role, names: &'a [String], rows: &'a [Cells]) -> impl Iterator<Item = &'a String> {
    let known = role.names().iter();
    known
        .filter_map(move |known| names.iter().find(|name| plain(name) == *known))
        .filter(move |name| fits(role, name, rows))
}

/// Whether at least half of what stands there, if anything does, can be such.
fn fits(role: Role, name: &str, rows: &[Cells]) -> bool {
    let (mut fitting, mut all) = (0, 0);
    for cell in filled(name, rows) {
        all += 1;
        fitting += usize::from(role.fits(cell));
    }
    2 * fitting >= all
}

/// The most telling name below which there is something.
fn named(role: Role, names: &[String], rows: &[Cells]) -> Option<String> {
    candidates(role, names, rows).find(|name| filled(name, rows).next().is_some()).cloned()
}

/// What a column holds; lists and objects are nothing.
fn filled<'a>(name: &str, rows: &'a [Cells]) -> impl Iterator<Item = &'a Value> {
    rows.iter()
        .filter_map(move |row| row.get(name))
        .filter(|cell| spelling(cell).is_some_and(|text| !text.trim().is_empty()))
}

/// The question of a form that asks for an opinion: of several, the one with the longest answers.
fn asked(role: Role, names: &[String], rows: &[Cells]) -> Option<String> {
    const ASKED: [&str; 4] = ["ข้อเสนอแนะ", "ความคิดเห็น", "รีวิว", "comment"];
    if role != Role::Text {
        return None;
    }
    // A link or a number is no answer.
    let answers = |name: &str| {
        filled(name, rows)
            .filter_map(spelling)
            .filter(|text| text.chars().any(|ch| ch.is_whitespace() || is_thai(ch)))
            .map(|text| text.chars().count())
            .sum::<usize>()
    };
    names
        .iter()
        .filter(|name| !is_known_name(name) && ASKED.iter().any(|asked| plain(name).contains(asked)))
        .map(|name| (answers(name), name))
        .filter(|(letters, _)| *letters > 0)
        .max_by_key(|(letters, _)| *letters)
        .map(|(_, name)| name.clone())
}

fn is_thai(ch: char) -> bool {
    ('\u{E01}'..='\u{E5B}').contains(&ch)
}

/// A column without a telling name, by what is in it.
fn seen(role: Role, names: &[String], rows: &[Cells]) -> Option<String> {
    match role {
        Role::Text => {
            let letters = |name: &String| {
                let cells = rows.iter().filter_map(|row| row.get(name)).filter_map(spelling);
                cells.map(|cell| cell.chars().filter(|ch| is_thai(*ch)).count()).sum::<usize>()
            };
            let most = names.iter().max_by_key(|name| letters(name))?;
            (letters(most) >= THAI_LETTERS * rows.len().max(1)).then(|| most.clone())
        }
        // Of a dump without a head such as Wongnai's, whose columns have only numbers for names.
        Role::Rating => {
            let unnamed = names.iter().filter(|name| name.starts_with(UNNAMED));
            let mut rated = unnamed.filter(|name| {
                let mut cells = rows.iter().filter_map(|row| row.get(*name)).peekable();
                cells.peek().is_some()
                    && cells.all(|cell| {
                        spelling(cell)
                            .is_some_and(|text| is_number(&text) && customary_rating(&text).is_some())
                    })
            });
            rated.next().cloned()
        }
        Role::Customer | Role::Brand | Role::Time | Role::Id => None,
    }
}

/// How columns without a name are called, before their number.
pub(super) const UNNAMED: &str = "column_";

/// A cell as words; none if it is nothing, a list or an object.
fn spelling(cell: &Value) -> Option<String> {
    match cell {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

pub(super) fn is_number(text: &str) -> bool {
    text.trim().parse::<f64>().is_ok()
}

/// Stars from 1 to 5, as dumps write them: "5", "๕", "4.0", "4/5", "5 stars", "5 ดาว", "★★★☆☆", or words.
pub fn customary_rating(text: &str) -> Option<u8> {
    const WORDS: [(&str, u8); 20] = [
        ("excellent", 5),
        ("five", 5),
        ("ดีมาก", 5),
        ("ดีเยี่ยม", 5),
        ("very good", 5),
        ("good", 4),
        ("four", 4),
        ("ดี", 4),
        ("average", 3),
        ("okay", 3),
        ("ok", 3),
        ("fair", 3),
        ("three", 3),
        ("พอใช้", 3),
        ("ปานกลาง", 3),
        ("poor", 2),
        ("two", 2),
        ("แย่", 2),
        ("terrible", 1),
        ("แย่มาก", 1),
    ];
    let text: String = text.trim().to_lowercase().chars().map(western).collect();
    if text.chars().all(|ch| "★☆⭐\u{FE0F}".contains(ch)) {
        let stars = text.chars().filter(|ch| "★⭐".contains(*ch)).count();
        return u8::try_from(stars).ok().filter(|stars| (1..=5).contains(stars));
    }
    if let Some((_, stars)) = WORDS.iter().find(|(word, _)| *word == text) {
        return Some(*stars);
    }
    let end = text.find(|ch: char| !ch.is_ascii_digit() && ch != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(end)?;
    let number: f32 = number.parse().ok()?;
    let after = ["/5", "star", "ดาว", "out of 5", "เต็ม 5"];
    let rest = rest.trim();
    if !rest.is_empty() && !after.iter().any(|known| rest.replace("/ 5", "/5").starts_with(known)) {
        return None;
    }
    (1_u8..=5).find(|stars| (f32::from(*stars) - number).abs() <= 0.5)
}
