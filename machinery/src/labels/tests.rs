#![allow(clippy::unwrap_used)]
use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

fn canonical(text: &str) -> String {
    Selector::parse(text)
        .unwrap_or_else(|e| panic!("{text}: {e}"))
        .to_string()
}

#[test]
fn parses_every_form() {
    for (text, want) in [
        ("", ""),
        ("  ", ""),
        ("x=a,y=b", "x=a,y=b"),
        ("y = b , x==a", "x=a,y=b"),
        ("x!=a", "x!=a"),
        ("x", "x"),
        ("!x", "!x"),
        ("! x", "!x"),
        ("x in (c,a,b)", "x in (a,b,c)"),
        ("x in (a)", "x=a"),
        ("x notin (a,b),y", "x notin (a,b),y"),
        ("x in ()", "x="),
        ("x in (,a)", "x in (,a)"),
        ("x in (a,,b)", "x in (,a,b)"),
        ("x=", "x="),
        ("x=,y=b", "x=,y=b"),
        ("x!=", "x!="),
        ("in in (in,notin)", "in in (in,notin)"),
        ("y<3,x>5", "x>5,y<3"),
        ("a.io/b-c_d=V.1", "a.io/b-c_d=V.1"),
        ("x\t in\n(a)", "x=a"),
    ] {
        assert_eq!(canonical(text), want, "{text}");
        assert_eq!(canonical(&canonical(text)), want, "{text} again");
    }
}

#[test]
fn errors_are_worded_as_upstream() {
    let name = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName', or 'my.name', or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let value = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue', or 'my_value', or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    for (text, want) in [
        ("x=a||y=b", format!("unable to parse requirement: values[0][x]: Invalid value: \"a||y\": {value}")),
        ("x==a==b", "found '==', expected: ',' or 'end of string'".to_owned()),
        ("!x=a", "found '=', expected: ',' or 'end of string'".to_owned()),
        ("x<a", "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an integer".to_owned()),
        ("x,", "found '', expected: identifier after ','".to_owned()),
        (",x", "found ',', expected: !, identifier, or 'end of string'".to_owned()),
        ("x in a", "unable to parse requirement: found 'a' expected: '('".to_owned()),
        ("x in (a", "unable to parse requirement: found '', expected: ',' or ')'".to_owned()),
        ("x (a)", "unable to parse requirement: found '(', expected: in, notin, =, ==, !=, gt, lt".to_owned()),
        ("!", "unable to parse requirement: found '', expected: identifier".to_owned()),
        ("-x=a", format!("unable to parse requirement: <nil>: Invalid value: \"-x\": {name}")),
        ("x y", "unable to parse requirement: found 'y', expected: in, notin, =, ==, !=, gt, lt".to_owned()),
    ] {
        let e = Selector::parse(text).unwrap_err();
        assert_eq!(e, want, "{text}");
    }
    let e = Requirement::new("a/b/c", Operator::In, vec![]).unwrap_err();
    assert!(
        e.starts_with("[key: Invalid value: \"a/b/c\": a valid label key must"),
        "{e}"
    );
    assert!(
        e.ends_with("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty]"),
        "{e}"
    );
}

#[test]
fn matches_as_upstream() {
    let labels: BTreeMap<String, String> = [("x", "a"), ("n", "7")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
    for (text, want) in [
        ("", true),
        ("x=a", true),
        ("x!=a", false),
        ("z!=a", true),
        ("x in (b,a)", true),
        ("z notin (a)", true),
        ("x,!z", true),
        ("z", false),
        ("n>6,n<8", true),
        ("n>7", false),
        ("x>1", false),
        ("z>1", false),
    ] {
        assert_eq!(
            Selector::parse(text).unwrap().matches_map(Some(&labels)),
            want,
            "{text}"
        );
    }
    assert!(!Selector::parse("x=a").unwrap().matches_map(None));
    assert!(Selector::parse("!x").unwrap().matches_map(None));
    assert_eq!(Selector::parse("x=a,y!=b").unwrap().requires("x"), Some("a"));
    assert_eq!(Selector::parse("x=a,y!=b").unwrap().requires("y"), None);
}

#[test]
fn structured_selectors() {
    let expression = |operator: &str, values: &[&str]| LabelSelectorRequirement {
        key: "k".into(),
        operator: operator.into(),
        values: (!values.is_empty()).then(|| values.iter().map(|v| (*v).to_owned()).collect()),
    };
    let mut s = LabelSelector {
        match_labels: Some([("z".to_owned(), "1".to_owned())].into()),
        match_expressions: Some(vec![expression("NotIn", &["b", "a"]), expression("Exists", &[])]),
    };
    assert_eq!(
        Selector::from_structured(&s).unwrap().to_string(),
        "k notin (a,b),k,z=1"
    );
    s.match_expressions = Some(vec![expression("Gt", &["1"])]);
    assert_eq!(
        Selector::from_structured(&s).unwrap_err(),
        "\"Gt\" is not a valid label selector operator"
    );
    assert!(Selector::from_structured(&LabelSelector::default()).unwrap().is_empty());
}

#[test]
fn field_selectors() {
    let s = FieldSelector::parse("spec.nodeName!=n, metadata.name==x").unwrap();
    assert_eq!(
        s.to_string(),
        " metadata.name=x,spec.nodeName!=n",
        "spaces count, as upstream"
    );
    let s = FieldSelector::parse(r"a=1\,2\=3\\,b!=").unwrap();
    assert_eq!(
        s.terms,
        [("a".into(), true, r"1,2=3\".into()), ("b".into(), false, String::new())]
    );
    assert_eq!(s.to_string(), r"a=1\,2\=3\\,b!=");
    assert!(s.matches(|p| if p == "a" { r"1,2=3\".into() } else { "x".into() }));
    assert!(!s.matches(|_| String::new()));
    assert_eq!(s.requires("a"), Some(r"1,2=3\"));
    assert_eq!(s.requires("b"), None);
    assert!(FieldSelector::parse("").unwrap().is_empty());
    for (text, want) in [
        ("abc", "invalid selector: 'abc'; can't understand 'abc'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
        (r"a=\", r"invalid field selector: invalid escape sequence: \"),
    ] {
        assert_eq!(FieldSelector::parse(text).unwrap_err(), want, "{text}");
    }
}
