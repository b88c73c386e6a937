//! The check fails for each kind of break, and for nothing else.

use protox::file::{File, FileResolver};

use crate::compare::{Differences, compare};
use crate::model::Contract;

/// One file in memory.
struct Only(String);

impl FileResolver for Only {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        File::from_source(name, &self.0)
    }
}

fn contract(body: &str) -> Contract {
    let source = format!("syntax = \"proto3\";\npackage t;\n{body}");
    let mut compiler = protox::Compiler::with_file_resolver(Only(source));
    compiler
        .open_file("t.proto")
        .unwrap_or_else(|error| panic!("{error}: {body}"));
    Contract::of(&compiler.file_descriptor_set())
}

/// What changed, after the older one went through its text.
fn differences(before: &str, after: &str) -> Differences {
    let recorded = contract(before).to_text();
    let recorded = Contract::from_text(&recorded).expect("the text reads back");
    compare(&recorded, &contract(after))
}

#[track_caller]
fn breaks(before: &str, after: &str, expected: &str) {
    let found = differences(before, after).breaks;
    assert!(
        found.len() == 1 && found[0].starts_with(expected),
        "expected `{expected}`, found {found:#?}"
    );
}

#[track_caller]
fn grows(before: &str, after: &str, expected: &[&str]) {
    let found = differences(before, after);
    assert_eq!(found.breaks, Vec::<String>::new());
    assert_eq!(found.additions, expected);
}

#[test]
fn the_same_is_the_same() {
    for body in [
        "",
        "message M { reserved 2, 5 to 9; reserved 'x'; optional string a = 1; repeated int32 b = 3; }",
        "message M { repeated int32 a = 1 [packed = false]; oneof o { M m = 2; bytes b = 3; } }",
        "message M { message N { enum E { A = 0; } E e = 1; } N n = 1; }",
        "enum E { reserved 2; reserved 'B'; A = 0; C = -3; }",
        "message M {} service S { rpc A(stream M) returns (M); rpc B(M) returns (stream M); }",
    ] {
        grows(body, body, &[]);
    }
}

#[test]
fn a_field_keeps_number_name_type_and_label() {
    let before = "message M { int32 a = 1; }";
    let changed = "t.M: field 1 changed";
    breaks(before, "message M { int32 b = 1; }", changed);
    breaks(before, "message M { int64 a = 1; }", changed);
    // The same bytes mean other numbers.
    breaks(before, "message M { sint32 a = 1; }", changed);
    breaks(before, "message M { repeated int32 a = 1; }", changed);
    breaks(before, "message M { optional int32 a = 1; }", changed);
    breaks(before, "message M { int32 a = 2; }", "t.M: field 1 `a` van");
    breaks(
        "message M { repeated int32 a = 1; }",
        "message M { repeated int32 a = 1 [packed = false]; }",
        changed,
    );
    breaks(
        "message A {} message B {} message M { A a = 1; }",
        "message A {} message B {} message M { B a = 1; }",
        changed,
    );
    breaks(
        "enum A { X = 0; } enum B { Y = 0; } message M { A a = 1; }",
        "enum A { X = 0; } enum B { Y = 0; } message M { B a = 1; }",
        changed,
    );
}

#[test]
fn a_field_stays_inside_or_outside_its_oneof() {
    let inside = "message M { oneof o { int32 a = 1; int32 b = 2; } }";
    let outside = "message M { int32 a = 1; oneof o { int32 b = 2; } }";
    breaks(inside, outside, "t.M: field 1 changed");
    breaks(outside, inside, "t.M: field 1 changed");
    breaks(
        inside,
        "message M { oneof p { int32 a = 1; } oneof o { int32 b = 2; } }",
        "t.M: field 1 changed",
    );
}

#[test]
fn what_goes_leaves_number_and_name_reserved() {
    let before = "message M { int32 a = 1; int32 b = 2; }";
    let gone = "t.M: field 2 `b` vanished";
    breaks(before, "message M { int32 a = 1; }", gone);
    breaks(before, "message M { int32 a = 1; reserved 2; }", gone);
    breaks(before, "message M { int32 a = 1; reserved 'b'; }", gone);
    grows(
        before,
        "message M { int32 a = 1; reserved 2; reserved 'b'; }",
        &["t.M: field 2 `b` is reserved"],
    );
    let before = "enum E { A = 0; B = 1; }";
    let gone = "t.E: value 1 `B` vanished";
    breaks(before, "enum E { A = 0; }", gone);
    breaks(before, "enum E { A = 0; reserved 1; }", gone);
    breaks(before, "enum E { A = 0; reserved 'B'; }", gone);
    grows(
        before,
        "enum E { A = 0; reserved 1; reserved 'B'; }",
        &["t.E: value 1 `B` is reserved"],
    );
}

#[test]
fn what_is_reserved_stays_so() {
    let before = "message M { reserved 3 to 5, 9; reserved 'x'; }";
    let rest = "reserved 'x';";
    breaks(
        before,
        &format!("message M {{ reserved 3, 5, 9; {rest} }}"),
        "t.M: number 4 is no longer",
    );
    breaks(
        before,
        &format!("message M {{ reserved 3 to 5; {rest} }}"),
        "t.M: number 9 is no longer",
    );
    breaks(
        before,
        "message M { reserved 3 to 5, 9; }",
        "t.M: name `x` is no longer",
    );
    grows(
        before,
        &format!("message M {{ reserved 3, 4, 5 to 20; {rest} }}"),
        &[],
    );
    breaks(
        "message M { reserved 7 to max; }",
        "message M { reserved 7 to 1000; }",
        "t.M: number 1001 is no longer",
    );
    breaks(
        "enum E { A = 0; reserved 2 to 4; }",
        "enum E { A = 0; B = 2; reserved 3 to 4; }",
        "t.E: number 2 is no longer",
    );
}

#[test]
fn a_value_keeps_number_and_name() {
    let before = "enum E { A = 0; B = 1; }";
    breaks(before, "enum E { A = 0; C = 1; }", "t.E: value 1 changed");
    let found = differences(before, "enum E { A = 0; B = 2; }").breaks;
    assert_eq!(found.len(), 1, "{found:?}");
    let swapped = differences(before, "enum E { B = 0; A = 1; }").breaks;
    assert_eq!(swapped.len(), 2, "{swapped:?}");
}

#[test]
fn a_call_keeps_its_messages_and_its_streams() {
    let of = |call: &str| format!("message M {{}} message N {{}} service S {{ {call} }}");
    let before = of("rpc A(M) returns (M);");
    for changed in [
        "rpc A(N) returns (M);",
        "rpc A(M) returns (N);",
        "rpc A(stream M) returns (M);",
        "rpc A(M) returns (stream M);",
    ] {
        breaks(&before, &of(changed), "t.S: call A changed");
        breaks(&of(changed), &before, "t.S: call A changed");
    }
    breaks(&before, &of(""), "t.S: call A vanished");
    breaks(
        &before,
        &of("rpc B(M) returns (M);"),
        "t.S: call A vanished",
    );
}

#[test]
fn nothing_vanishes_as_a_whole() {
    breaks("message M {}", "", "message t.M vanished");
    breaks("message M {}", "message N {}", "message t.M vanished");
    breaks("enum E { A = 0; }", "", "enum t.E vanished");
    breaks("service S {}", "", "service t.S vanished");
    // A nested one is another one.
    breaks(
        "message M {} message N {}",
        "message M { message N {} }",
        "message t.N vanished",
    );
}

#[test]
fn additions_are_fine() {
    grows(
        "message M { oneof o { int32 a = 1; } }",
        "message M { oneof o { int32 a = 1; M m = 2; } repeated string s = 3; }",
        &[
            "t.M: field 2 `m single .t.M oneof o`",
            "t.M: field 3 `s repeated string`",
        ],
    );
    grows(
        "enum E { A = 0; }",
        "enum E { A = 0; B = 1; } enum F { C = 0; } message M {} service S {}",
        &["t.E: value 1 `B`", "message t.M", "enum t.F", "service t.S"],
    );
    grows(
        "message M {} service S {}",
        "message M {} service S { rpc A(M) returns (M); }",
        &["t.S: call A"],
    );
}

/// Every break at once is told at once.
#[test]
fn all_breaks_are_told() {
    let found = differences(
        "message M { int32 a = 1; int32 b = 2; } enum E { A = 0; } service S {}",
        "message M { int64 a = 1; }",
    );
    assert_eq!(found.breaks.len(), 4, "{found:#?}");
}
