//! What texts speak of, and what is said of each.

use proptest::prelude::*;

use crate::scoring::catalogue::{Catalogue, CatalogueError};
use crate::scoring::prepared::Prepared;
use crate::scoring::sentiment::Features;
use crate::scoring::targets::Mention;
use crate::work::assert_grows_with_its_input;

const BRANDS: &str = include_str!("../../../examples/catalogue.toml");

fn catalogue() -> Catalogue {
    Catalogue::parse(BRANDS).expect("the example is a catalogue")
}

fn prepared(text: &str, catalogue: &Catalogue) -> Prepared {
    Prepared::of(text, Features { targets: true, ..Features::default() }, catalogue)
}

/// Each target with what is said of it: `taste: อาหารอร่อย`, `punsuk ≠ กาแฟดอยอร่อย`.
fn said(text: &str, catalogue: &Catalogue) -> Vec<String> {
    let Prepared { parts, mentions, .. } = prepared(text, catalogue);
    let line = |(part, _, mention): &(usize, usize, Mention)| {
        let id = &catalogue.target(mention.target).expect("a number of this catalogue").id;
        let said = parts.get(*part).expect("a part of this text").as_str();
        format!("{id}{} {said}", if mention.opposite { " ≠" } else { ":" })
    };
    mentions.iter().map(line).collect()
}

#[test]
fn of_each_target_its_own_statement_is_said() {
    let catalogue = catalogue();
    for (text, wanted) in [
        // The clause, or the part of it that is about the aspect
        ("อาหารอร่อย แต่แพงมาก", vec!["taste: อาหารอร่อย", "price: แพงมาก"]),
        ("อาหารอร่อยบริการแย่", vec!["taste: อาหารอร่อย", "service: บริการแย่"]),
        ("พนักงานบริการดี", vec!["staff: พนักงานบริการดี", "service: พนักงานบริการดี"]),
        ("ชอบอาหารไม่ชอบบริการ", vec!["taste: ชอบอาหาร", "service: ไม่ชอบบริการ"]),
        ("อาหารกับบริการดีมาก", vec!["taste: อาหารกับบริการดีมาก", "service: อาหารกับบริการดีมาก"]),
        ("ร้านที่พนักงานน่ารัก", vec!["staff: ร้านที่พนักงานน่ารัก"]),
        ("สั่งเค้กมาอร่อยมาก", vec!["taste: สั่งเค้กมาอร่อยมาก"]),
        // What follows without a name of its own, up to a word of contrast
        ("พัสดุหาย โกรธมาก แต่ก็ได้คืน", vec!["delivery: พัสดุหาย โกรธมาก"]),
        ("เรื่องราคา\nรับไม่ได้จริง ๆ", vec!["price: เรื่องราคา\nรับไม่ได้จริง ๆ"]),
        // Brands are topics
        ("เพิ่งไปกาแฟดอยมา ประทับใจ แต่แพง", vec!["doi: เพิ่งไปกาแฟดอยมา ประทับใจ แต่แพง", "price: แพง"]),
        ("กาแฟดอยดี ปันสุขแย่", vec!["doi: กาแฟดอยดี", "punsuk: ปันสุขแย่"]),
        ("กาแฟดอยดี กลับมาอีก กาแฟดอยสู้ ๆ", vec!["doi: กาแฟดอยดี กลับมาอีก กาแฟดอยสู้ ๆ"]),
        ("ไม่ไหวแล้ว เบื่อมาก #ปันสุข", vec!["punsuk: ไม่ไหวแล้ว เบื่อมาก #ปันสุข"]),
        ("ห่วยมาก\nสกายเทล", vec!["skytel: ห่วยมาก\nสกายเทล"]),
        // The other side of a comparison
        ("กาแฟดอยดีกว่าปันสุขเยอะ", vec!["doi: กาแฟดอยดีเยอะ", "punsuk ≠ กาแฟดอยดีเยอะ"]),
        ("ชอบกาแฟดอยมากกว่าร้านปันสุข", vec!["doi: ชอบกาแฟดอยมาก", "punsuk ≠ ชอบกาแฟดอยมาก"]),
        ("กาแฟดอยสู้ปันสุขไม่ได้", vec!["doi: กาแฟดอยสู้ไม่ได้", "punsuk ≠ กาแฟดอยสู้ไม่ได้"]),
        ("กาแฟดอยไม่ดีเท่าปันสุข", vec!["doi: กาแฟดอยไม่ดี", "punsuk ≠ กาแฟดอยไม่ดี"]),
        ("กาแฟดอยดีเท่าปันสุข", vec!["doi: กาแฟดอยดีเท่าปันสุข", "punsuk: กาแฟดอยดีเท่าปันสุข"]),
        ("ดีกว่าปันสุขเยอะ", vec!["punsuk ≠ ดีเยอะ"]),
        (
            "เปลี่ยนจากสกายเทลมาใช้ FaSai ดีขึ้นมาก",
            vec!["skytel ≠ เปลี่ยนมาใช้ FaSai ดีขึ้นมาก", "fasai: เปลี่ยนมาใช้ FaSai ดีขึ้นมาก"],
        ),
        // Which only look like one
        (
            "กาแฟดอยกับปันสุขอันไหนดีกว่ากัน",
            vec!["doi: กาแฟดอยกับปันสุขอันไหนดีกว่ากัน", "punsuk: กาแฟดอยกับปันสุขอันไหนดีกว่ากัน"],
        ),
        ("กว่าจะถึงกาแฟดอยก็เย็นแล้ว", vec!["doi: กว่าจะถึงกาแฟดอยก็เย็นแล้ว"]),
        // Spelling
        ("เเพงงงงง", vec!["price: แพงงง"]),
        ("DOI  KAFAE ดีมาก", vec!["doi: DOI KAFAE ดีมาก"]),
        // Parts of other words, and what is meant otherwise
        ("โปรแกรมนี้ดี รอยยิ้มสวย กาแฟดอยช้างก็ดี", vec![]),
        ("ช้างน้อยเอ็กซ์เพรสส่งดี", vec!["changnoi: ช้างน้อยเอ็กซ์เพรสส่งดี"]),
        ("", vec![]),
        ("https://doikafae.example", vec![]),
    ] {
        assert_eq!(said(text, &catalogue), wanted, "of {text}");
    }
}

#[test]
fn a_catalogue_is_read_with_all_its_faults() {
    let check = |file: &str, wanted: &[&str]| {
        let refused = Catalogue::parse(file).expect_err(file);
        let faults = match refused {
            CatalogueError::Parse(cause) => vec![cause.to_string()],
            CatalogueError::Invalid(faults) => faults,
        };
        assert_eq!(faults.len(), wanted.len(), "{faults:#?}");
        for (fault, wanted) in faults.iter().zip(wanted) {
            assert!(fault.contains(wanted), "{fault} does not say {wanted}");
        }
    };
    let brand = |id: &str, aliases: &str| format!("[[brands]]\nid = \"{id}\"\naliases = [{aliases}]\n");
    check("brands = 3", &["line 1"]);
    check("[[brands]]\nid = \"a\"", &["missing field `aliases`"]);
    check("[[brands]]\nid = \"a\"\nalias = [\"b\"]", &["unknown field `alias`"]);
    check("[[brand]]\nid = \"a\"", &["unknown field `brand`"]);
    check(&brand("a b", "\"x\""), &["line 2: id \"a b\": use"]);
    check(&brand("", "\"x\""), &["line 2: id \"\": use"]);
    check(&brand("a", ""), &["line 2: \"a\" has no words"]);
    check(&brand("a", "\"🙂\", \" \""), &["line 3: \"🙂\" has no letters", "line 3: \" \" has no letters"]);
    check(&(brand("a", "\"x\"") + &brand("b", "\"X\"")), &["line 6: \"X\" is a word of \"a\" already"]);
    check(&(brand("a", "\"x\"") + "except = [\"x\"]"), &["line 4: \"x\" is a word of \"a\" already"]);
    check(&(brand("a", "\"x\"") + &brand("a", "\"y\"")), &["line 5: id \"a\" is taken"]);
}

#[test]
fn a_catalogue_adds_to_the_aspects_that_ship_and_goes_before_them() {
    let own = Catalogue::default();
    assert!(own.targets().count() >= 12);
    let file =
        "[[brands]]\nid = \"cake\"\naliases = [\"เค้ก\"]\n[[aspects]]\nid = \"price\"\ntriggers = [\"ตังค์\"]";
    let catalogue = Catalogue::parse(file).expect("a catalogue");
    assert_eq!(catalogue.targets().count(), own.targets().count() + 1);
    assert_eq!(said("เค้กดีมาก", &own), ["taste: เค้กดีมาก"]);
    assert_eq!(said("เค้กดีมาก", &catalogue), ["cake: เค้กดีมาก"]);
    assert_eq!(said("เสียตังค์เยอะ\nแพงมาก", &catalogue), ["price: เสียตังค์เยอะ", "price: แพงมาก"]);
    let alone = Catalogue::parse(&format!("default_aspects = false\n{file}")).expect("a catalogue");
    assert_eq!(alone.targets().map(|target| target.id.as_str()).collect::<Vec<_>>(), ["cake", "price"]);
    for catalogue in [own, catalogue, alone, self::catalogue()] {
        let again = Catalogue::parse(&catalogue.to_toml()).expect("what is shown is a catalogue");
        assert_eq!(again, catalogue);
    }
}

#[test]
fn a_long_text_has_few_statements() {
    let catalogue = catalogue();
    let text = "กาแฟดอยดีกว่าปันสุข แต่แพง พนักงานแย่\n".repeat(1500);
    let prepared = prepared(&text, &catalogue);
    assert!(prepared.parts.len() <= 129, "{}", prepared.parts.len());
    for part in ["กว่าปันสุข", "ราคาเมนู", "เท่าราคา"] {
        assert_grows_with_its_input(500, |size| {
            self::prepared(&part.repeat(size), &catalogue);
        });
    }
    // So do thousands of brands in one statement, or in as many statements as there are.
    let brand = |number: usize| format!("ร้าน{}x", 10_000 + number);
    let one = |number| format!("[[brands]]\nid = \"b{number}\"\naliases = [\"{}\"]\n", brand(number));
    let many = Catalogue::parse(&(0..8000).map(one).collect::<String>()).expect("a catalogue");
    for beside in ["", " ดี", " ดี แต่", "กว่า", " จาก", "ไม่ดีเท่า"]
    {
        let text: String = (0..8000).map(|number| format!("{}{beside} ", brand(number))).collect();
        assert!(self::prepared(&text, &many).mentions.len() >= 4000, "{beside}");
    }
    let last = prepared.mentions.last().expect("mentions");
    assert!(last.2.said.range.end > text.trim_end().len() - 40, "the end is spoken of, too");
}

proptest! {
    #[test]
    fn a_mention_lies_in_what_is_said_of_it(pieces in prop::collection::vec(prop_oneof![
        Just("กาแฟดอย"), Just("ปันสุข"), Just("FaSai"), Just("อาหาร"), Just("บริการ"), Just("แพง"), Just("รอ"), Just("ดี"), Just("อร่อย"),
        Just("กว่า"), Just("สู้"), Just("ไม่ได้"), Just("ไม่"), Just("เท่า"), Just("เปลี่ยนจาก"), Just("มา"), Just("แต่"), Just("ค่ะ"), Just(" "), Just("\n"),
        Just("มากกกก"), Just("😍"), Just("https://a.co"),
    ], 0..40)) {
        let catalogue = catalogue();
        let text = pieces.concat();
        let Prepared { normalized, parts, mentions, .. } = prepared(&text, &catalogue);
        let inside = |inner: &std::ops::Range<usize>, outer: &std::ops::Range<usize>| {
            outer.start <= inner.start && inner.end <= outer.end
        };
        for (part, context, mention) in &mentions {
            let Mention { named, said, around, opposite, .. } = mention;
            prop_assert!(inside(named, &said.range) && inside(&said.range, &around.range), "{} {mention:?}", text);
            prop_assert!(around.range.end <= normalized.as_str().len());
            prop_assert!(*part < parts.len() && *context < parts.len());
            prop_assert_eq!(said.except.iter().any(|gone| inside(named, gone)), *opposite);
            for gone in &said.except {
                prop_assert!(inside(gone, &said.range) && around.except.contains(gone), "{} {mention:?}", text);
            }
        }
        prop_assert!(mentions.is_sorted_by_key(|(_, _, mention)| mention.named.start));
    }
}

#[test]
fn every_trigger_is_found_between_other_words() {
    let own = Catalogue::default();
    let mut missed = Vec::new();
    for target in own.targets() {
        for word in own.words_of(&target.id) {
            // No ending suits every word: "ขาย" and "ดี" are another word together.
            let found = ["ดี", "แย่", "มาก"].map(|end| said(&format!("วันนี้{word}{end}"), &own));
            let of_target = |line: &String| line.starts_with(&format!("{}:", target.id));
            if found.iter().filter(|found| found.iter().any(of_target)).count() < 2 {
                missed.push(format!("{} {word} {found:?}", target.id));
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
