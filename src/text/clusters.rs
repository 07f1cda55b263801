//! Thai character clusters: letters that no word parts from each other.
//!
//! The rules are those of Theeramunkong et al. (2000) as PyThaiNLP and nlpO3 1.4 write them.

use std::sync::LazyLock;

use regex::Regex;

/// In this order; `c` is a consonant, `t` a tone mark or none, `k` a silent ending or none.
const RULES: [&str; 29] = [
    "เc็ck",
    "เcctาะk",
    "เccีtยะk",
    "เcc็ck",
    "เcิc์ck",
    "เcิtck",
    "เcีtยะ?k",
    "เcืtอะ?k",
    "เctา?ะ?k",
    "cัtวะk",
    "c[ัื]tc[ุิะ]?k",
    "c[ิุู]์k",
    "c[ะ-ู]tk",
    "cรรc์ ็",
    "c็",
    "ct[ะาำ]?k",
    "ck",
    "แc็c",
    "แcc์",
    "แctะ",
    "แcc็c",
    "แccc์",
    "โctะ",
    "[เ-ไ]ct",
    "ก็",
    "อึ",
    "หึ",
    LOOKING_AHEAD[0],
    LOOKING_AHEAD[1],
];

/// Those whose last letter is the first one of the next cluster.
const LOOKING_AHEAD: [&str; 2] = ["(?:เccีtย)[เ-ไก-ฮ]k", "(?:เc[ิีุู]tย)[เ-ไก-ฮ]k"];

static CLUSTER: LazyLock<Regex> = LazyLock::new(|| any_of(&RULES));
static LOOKS_AHEAD: LazyLock<Regex> = LazyLock::new(|| any_of(&LOOKING_AHEAD));

fn any_of(rules: &[&str]) -> Regex {
    let spelled = |rule: &&str| rule.replace('k', "(?:cc?[ูุิ]?[์])?").replace('c', "[ก-ฮ]").replace('t', "[่-๋]?");
    let rules: Vec<String> = rules.iter().map(spelled).collect();
    Regex::new(&format!("^(?:{})", rules.join("|"))).expect("constant rules, compiled in every test")
}

/// For each byte position of a text whether a cluster ends there. Letters of no cluster stand alone.
pub(super) fn ends(text: &str) -> Vec<bool> {
    let mut ends = vec![false; text.len() + 1];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        // Most text that is not Thai is spared the rules.
        let cluster = if is_thai(first) { CLUSTER.find(rest).map(|found| found.as_str()) } else { None };
        let length = match cluster {
            Some(cluster) if LOOKS_AHEAD.is_match(cluster) => {
                cluster.len() - cluster.chars().next_back().map_or(0, char::len_utf8)
            }
            Some(cluster) => cluster.len(),
            None => first.len_utf8(),
        };
        rest = rest.get(length..).unwrap_or_default();
        if let Some(end) = ends.get_mut(text.len() - rest.len()) {
            *end = true;
        }
    }
    ends
}

fn is_thai(ch: char) -> bool {
    ('\u{E01}'..='\u{E5B}').contains(&ch)
}
