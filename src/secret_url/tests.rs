use super::*;

fn check(url: &str, shown: &str) {
    let secret = SecretUrl::from(url.to_owned());
    assert_eq!(secret.to_string(), shown);
    assert_eq!(format!("{secret:?}"), format!("{shown:?}"));
    assert_eq!(secret.expose(), url);
    // Shown again it is the same.
    assert_eq!(SecretUrl::from(shown.to_owned()).to_string(), shown);
}

#[test]
fn a_url_is_shown_without_its_secrets() {
    for (url, shown) in [
        ("https://cdp.example", "https://cdp.example"),
        ("https://cdp.example/", "https://cdp.example/"),
        ("https://cdp.example/hook", "https://cdp.example/***"),
        ("http://127.0.0.1:4317", "http://127.0.0.1:4317"),
        ("http://[::1]:8080/hook", "http://[::1]:8080/***"),
        ("https://arom:pa55@cdp.example/hook", "https://***@cdp.example/***"),
        ("https://tokenalone@cdp.example", "https://***@cdp.example"),
        ("https://a:b@c@cdp.example/x", "https://***@cdp.example/***"),
        ("https://arom:pa/ss@cdp.example/hook", "https://***@cdp.example/***"),
        ("https://arom:pa?ss@cdp.example/hook", "https://***@cdp.example/***"),
        ("https://arom:p@a/ss@cdp.example/hook", "https://***@cdp.example/***"),
        ("https://cdp.example/@shop/hook", "https://cdp.example/***"),
        ("https://arom:pa#ss@cdp.example/hook", "https://***@cdp.example/***"),
        ("https://cdp.example?token=abc", "https://cdp.example/***"),
        ("https://cdp.example#access_token=abc", "https://cdp.example/***"),
        ("https://hooks.example/services/T0/B0/aBcdEfgHjkLmnPqRstUvwXyZ", "https://hooks.example/***"),
        ("https://cdp.example/a;token=abc", "https://cdp.example/***"),
        ("https://cdp.example/k=abc", "https://cdp.example/***"),
        ("https://cdp.example/abc.eyJhbGciOi.abc", "https://cdp.example/***"),
        ("arom:pa55@cdp.example/hook?token=abc", "***@cdp.example/***"),
        ("", ""),
    ] {
        check(url, shown);
    }
}

#[test]
fn what_others_say_of_a_url_is_shown_without_its_secrets() {
    let url = SecretUrl::from("https://u:it's \"p\"@cdp.example/h?token=abc".to_owned());
    let said = "bad uri: https://u:it's \"p\"@cdp.example/h?token=abc see http://k:v@other.example/?key=1 (os error 2)";
    assert_eq!(
        url.hide_in(said),
        "bad uri: https://***@cdp.example/*** see http://***@other.example/*** (os error 2)"
    );
}

/// The text is another's: it may quote a URL, or put it between signs that no URL has.
#[test]
fn signs_in_a_password_do_not_end_its_url() {
    for (said, shown) in [
        ("bad uri http://arom:p{w@cdp.example/x?y", "bad uri http://***@cdp.example/***"),
        ("bad uri http://arom:p://w@cdp.example/x?y", "bad uri http://***@cdp.example/***"),
        ("<http://arom:p>w@cdp.example/x> is bad", "<http://***@cdp.example/***> is bad"),
        (
            r#"{"url":"http://a:b|c\"d`e'f@cdp.example/h","n":1}"#,
            r#"{"url":"http://***@cdp.example/***","n":1}"#,
        ),
        ("`http://u:{}@h:1` 'http://v:<>@i/k'", "`http://***@h:1` 'http://***@i/***'"),
        ("http://a.example|http://u:p@b.example'", "http://***@b.example'"),
        ("'http://cdp.example' of ann@cdp.example", "'http://cdp.example' of ann@cdp.example"),
    ] {
        assert_eq!(hide_urls(said), shown, "{said}");
    }
}

/// In JSON nothing stands between a field and the next but `","`, which a password may hold, too.
#[test]
fn a_url_in_a_json_line_hides_no_other_field() {
    for (line, shown) in [
        (
            r#"{"url":"http://a.example/x","mail":"ann@b.example","n":1}"#,
            r#"{"url":"http://a.example/***","mail":"ann@b.example","n":1}"#,
        ),
        (
            r#"{"url":"http://u:p\",\"q\\@cdp.example/h","mail":"ann@b.example"}"#,
            r#"{"url":"http://***@cdp.example/***","mail":"ann@b.example"}"#,
        ),
        (r#"{"error":"no \"http://u:p@h/x\" (os)"}"#, r#"{"error":"no \"http://***@h/***\" (os)"}"#),
        ("half a line \"http://u:p@h/x", "half a line \"http://***@h/***"),
        ("http://u:p@h/x", "http://***@h/***"),
    ] {
        assert_eq!(hide_json_urls(line), shown, "{line}");
    }
}

#[test]
fn the_work_on_a_text_grows_with_its_length() {
    for part in ["http://", "http://|", "http://a.example\"", "a/@", "http://a:b/@", "http://a:b@?@|", "\\\""]
    {
        crate::work::assert_grows_with_its_input(1500, |count| {
            let text = format!("http://{}", part.repeat(count));
            std::hint::black_box((hide_urls(&text), hide_json_urls(&text)));
        });
    }
    // A line of 100 KB.
    let hidden = hide_urls(&"http://".repeat(15_000));
    assert!(hidden.len() <= 100 << 10);
}

proptest::proptest! {
    #[test]
    fn no_part_of_a_password_without_a_space_is_shown_of_any_url(password in "[a-zA-Z0-9/:@=\"'`<>{}|é]{0,12}") {
        let shown = hide_urls(&format!("cannot reach \"https://arom:Zq{password}qZ@cdp.example/hook\": refused"));
        proptest::prop_assert_eq!(shown, "cannot reach \"https://***@cdp.example/***\": refused");
    }

    #[test]
    fn no_part_of_a_password_is_shown(password in "[a-zA-Z0-9/?#:@&= \"'é]{0,12}") {
        let secret = format!("Zq{password}qZ");
        let url = SecretUrl::from(format!("https://arom:{secret}@cdp.example/hook?signature={secret}"));
        let shown = url.hide_in(&format!("cannot reach {}", url.expose()));
        proptest::prop_assert!(!shown.contains("Zq") && !shown.contains("qZ"), "{}", shown);
        proptest::prop_assert!(shown.contains("***"), "{}", shown);
    }
}
