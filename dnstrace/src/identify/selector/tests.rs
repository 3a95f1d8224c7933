use proptest::prelude::*;

use super::*;

fn labels(text: &str) -> Labels {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[test]
fn selectors_select_as_kubectl_does() {
    let cart = labels("app=cart,tier=web,env=a,level=7,empty=,example.com/part-of=shop");
    for (selector, expected) in [
        ("", true),
        ("app=cart", true),
        ("app==cart", true),
        ("app = cart , tier = web", true),
        ("app=cart,tier=db", false),
        ("app!=cart", false),
        ("app!=web,tier!=db", true),
        ("other!=x", true),
        ("other=x", false),
        ("app", true),
        ("!app", false),
        ("!other", true),
        ("! other,app", true),
        ("env in (a,b)", true),
        ("env in (b, c)", false),
        ("env notin (b,c)", true),
        ("env notin (a)", false),
        ("other in (a)", false),
        ("other notin (a)", true),
        ("env in (a,b),app=cart,!x", true),
        ("level>6,level<8", true),
        ("level>7", false),
        ("app>1", false),
        ("other<1", false),
        ("empty=", true),
        ("app=", false),
        ("other=", false),
        ("empty in (,x)", true),
        ("example.com/part-of=shop", true),
        ("example.com/part-of in(shop)", true),
    ] {
        let parsed: Selector = selector.parse().unwrap_or_else(|error| panic!("{selector}: {error}"));
        assert_eq!(parsed.matches(&cart), expected, "{selector}");
    }
    // Words of the language may be keys and values.
    assert!("in=notin,notin in (in)".parse::<Selector>().unwrap().matches(&labels("in=notin,notin=in")));
}

#[test]
fn what_is_no_selector_is_refused_with_what_is_wrong() {
    for (wrong, hint) in [
        (",", "a key is missing before ','"),
        ("app=cart,", "a key is missing before the end"),
        ("app=cart tier=web", "a comma is missing before \"tier\""),
        ("app cart", "an operator is missing before \"cart\""),
        ("env in a", "'(' is missing before \"a\""),
        ("env in (a", "')' is missing before the end"),
        ("env in (a b)", "')' is missing before \"b\""),
        ("!app=cart", "a comma is missing before '='"),
        ("=cart", "a key is missing before '='"),
        ("a===b", "a value is missing before '='"),
        ("a>b", "\"b\" is no number"),
        ("a>", "a number is missing before the end"),
        ("-a=b", "\"-a\" is no key"),
        ("a/b/c", "\"a/b/c\" is no key"),
        ("/a", "\"/a\" is no key"),
        ("A.com/a", "\"A.com/a\" is no key"),
        ("a=b/c", "\"b/c\" is no value"),
        ("a=b\u{1b}[2J", "is no value"),
    ] {
        let error = wrong.parse::<Selector>().expect_err(wrong).to_string();
        assert!(error.contains(hint) && !error.contains('\u{1b}'), "{wrong}: {error}");
    }
    assert!(format!("{}=b", "a".repeat(64)).parse::<Selector>().is_err());
    assert!(format!("b={}", "a".repeat(64)).parse::<Selector>().is_err());
}

#[test]
fn a_recording_holds_it_as_its_text() {
    let selector: Selector = "env in (a,b),!x".parse().unwrap();
    let text = serde_json::to_string(&selector).unwrap();
    assert_eq!(text, "\"env in (a,b),!x\"");
    assert_eq!(serde_json::from_str::<Selector>(&text).unwrap(), selector);
    assert!(serde_json::from_str::<Selector>("\"=\"").is_err());
}

fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9]([-_.a-zA-Z0-9]{0,8}[a-zA-Z0-9])?"
}

fn condition() -> impl Strategy<Value = Condition> {
    let value = || prop_oneof![word(), Just(String::new())];
    prop_oneof![
        Just(Condition::There),
        Just(Condition::Absent),
        value().prop_map(Condition::Equal),
        value().prop_map(Condition::NotEqual),
        prop::collection::vec(value(), 1..4).prop_map(Condition::In),
        prop::collection::vec(value(), 1..4).prop_map(Condition::NotIn),
        any::<i64>().prop_map(Condition::Greater),
        any::<i64>().prop_map(Condition::Less),
    ]
}

fn selector() -> impl Strategy<Value = Selector> {
    let requirement = (word(), condition()).prop_map(|(key, condition)| Requirement { key, condition });
    prop::collection::vec(requirement, 0..5).prop_map(|requirements| Selector { requirements })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(selector in selector()) {
        prop_assert_eq!(selector.to_string().parse::<Selector>(), Ok(selector));
    }

    #[test]
    fn no_text_is_too_odd(text in "\\PC{0,40}|[a-c=!<>,() inot]{0,30}") {
        if let Ok(selector) = text.parse::<Selector>() {
            prop_assert_eq!(selector.to_string().parse::<Selector>(), Ok(selector));
        }
    }

    /// A condition and its opposite share out all labels between them.
    #[test]
    fn opposites_are_opposites(key in "[ab]", labels in prop::collection::btree_map("[ab]", "[xy]?", 0..3)) {
        for (one, other) in [("{k}", "!{k}"), ("{k}=x", "{k}!=x"), ("{k} in (x,)", "{k} notin (x,)")] {
            let matches = |text: &str| text.replace("{k}", &key).parse::<Selector>().unwrap().matches(&labels);
            prop_assert_ne!(matches(one), matches(other));
        }
    }
}
