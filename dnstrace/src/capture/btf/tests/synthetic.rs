use std::sync::Arc;

use super::{
    super::{Btf, BtfError, Kind},
    builder::Builder,
};

/// `struct outer { int first; union { struct { int a; short b; }; inner_t c; }; struct outer *next; }`
fn nested() -> Builder {
    let mut new = Builder::new();
    let int = new.int("int", 4);
    let short = new.int("short", 2);
    let array = new.array(short, 3);
    let inner = new.structure("", 8, &[("x", int, 0), ("y", array, 16)]);
    let constant = new.of(Kind::Const, "", inner);
    let inner_t = new.of(Kind::Typedef, "inner_t", constant);
    let pair = new.structure("", 8, &[("a", int, 0), ("b", short, 32)]);
    let choice = new.union("", 8, &[("", pair, 0), ("c", inner_t, 0)]);
    let pointer = new.of(Kind::Pointer, "", 9);
    new.structure("outer", 24, &[("first", int, 0), ("", choice, 64), ("next", pointer, 128)]);
    new
}

#[test]
fn paths_go_through_anonymous_members_arrays_and_aliases() {
    let btf = nested().btf();
    for (path, offset, size) in [
        ("outer.first", 0, 4),
        ("outer.a", 8, 4),
        ("outer.b", 12, 2),
        ("outer.c", 8, 8),
        ("outer.c.x", 8, 4),
        ("outer.c.y", 10, 6),
        ("outer.next", 16, 8),
    ] {
        assert_eq!(btf.offset(path).unwrap(), offset, "{path}");
        assert_eq!(btf.bit_offset(path).unwrap(), offset * 8, "{path}");
        assert_eq!(btf.member_size(path).unwrap(), size, "{path}");
        assert_eq!(btf.member_is_pointer(path).unwrap(), path == "outer.next", "{path}");
    }
    assert_eq!(btf.size_of("outer").unwrap(), 24);
}

#[test]
fn what_is_missing_is_named() {
    let btf = nested().btf();
    for (path, message) in [
        ("outer", "outer: not a path such as `sk_buff.len`"),
        ("other.first", "the kernel's BTF has no struct other"),
        ("outer.d", "outer.d: no member d in struct outer of this kernel's BTF"),
        ("outer.c.z", "outer.c.z: no member z in struct (type of c) of this kernel's BTF"),
        ("outer.next.a", "outer.next.a: next is not a struct or union (pointers are not followed)"),
        ("outer.first.a", "outer.first.a: first is not a struct or union (pointers are not followed)"),
        ("outer..a", "outer..a: not a path such as `sk_buff.len`"),
    ] {
        assert_eq!(btf.offset(path).unwrap_err().to_string(), message);
    }
}

#[test]
fn the_first_path_that_exists_counts() {
    let btf = nested().btf();
    assert_eq!(
        btf.first_offset(&["none.a", "outer.d", "outer.next.a", "outer.b", "outer.first"]).unwrap(),
        12
    );
    let error = btf.first_offset(&["outer.d", "none.a"]).unwrap_err();
    assert_eq!(error.to_string(), "this kernel's BTF has none of outer.d, none.a");
}

#[test]
fn bit_fields_have_no_byte_offset() {
    let mut new = Builder::new();
    let int = new.int("int", 4);
    let width = |bits: u32| bits << 24;
    new.aggregate(
        Kind::Struct,
        "flags",
        true,
        8,
        &[("whole", int, 0), ("bit", int, 33 | width(1)), ("byte", int, 40 | width(8))],
    );
    let btf = new.btf();
    assert_eq!(btf.offset("flags.whole").unwrap(), 0);
    for (path, bits) in [("flags.bit", 33), ("flags.byte", 40)] {
        assert!(matches!(btf.offset(path), Err(BtfError::Bitfield(found)) if found == path));
        assert!(matches!(btf.first_offset(&[path, "flags.whole"]), Err(BtfError::Bitfield(_))));
        assert!(matches!(btf.member_size(path), Err(BtfError::Bitfield(_))));
        assert_eq!(btf.bit_offset(path).unwrap(), bits);
    }
}

#[test]
fn structs_of_one_name_must_agree_on_the_member() {
    let mut new = Builder::new();
    let int = new.int("int", 4);
    let long = new.int("long", 8);
    new.of(Kind::Forward, "twice", 0);
    new.structure("twice", 8, &[("same", int, 0), ("moved", int, 32), ("grown", int, 32)]);
    new.structure(
        "twice",
        16,
        &[("same", int, 0), ("moved", int, 64), ("grown", long, 32), ("one", int, 96)],
    );
    let btf = new.btf();
    assert_eq!(btf.offset("twice.same").unwrap(), 0);
    assert_eq!(btf.offset("twice.one").unwrap(), 12);
    for path in ["twice.moved", "twice.grown"] {
        assert!(matches!(btf.offset(path), Err(BtfError::Ambiguous(found)) if found == path));
        assert!(matches!(btf.first_offset(&[path, "twice.same"]), Err(BtfError::Ambiguous(_))));
    }
    assert!(matches!(btf.size_of("twice"), Err(BtfError::Ambiguous(_))));
}

#[test]
fn a_forward_declaration_alone_is_no_struct() {
    let mut new = Builder::new();
    new.of(Kind::Forward, "far", 0);
    let btf = new.btf();
    assert!(matches!(btf.offset("far.x"), Err(BtfError::NoStruct(name)) if name == "far"));
    assert!(matches!(btf.size_of("far"), Err(BtfError::NoStruct(_))));
}

#[test]
fn functions_and_void_have_no_size() {
    let mut new = Builder::new();
    let prototype = new.prototype(&[]);
    new.structure("odd", 8, &[("function", prototype, 0), ("void", 0, 0)]);
    let btf = new.btf();
    for path in ["odd.function", "odd.void"] {
        assert!(matches!(btf.member_size(path), Err(BtfError::NoSize(found)) if found == path));
    }
}

#[test]
fn enumerators_have_the_sign_that_their_enum_says() {
    let mut new = Builder::new();
    new.enumeration("small", true, &[("MINUS", u32::MAX), ("TWO", 2)]);
    new.enumeration("large", false, &[("ALL", u32::MAX)]);
    new.enumeration64("wide", false, &[("LOW", 1), ("HIGH", 1 << 40), ("BEYOND", u64::MAX)]);
    new.enumeration64("wide_signed", true, &[("NEGATIVE", u64::MAX)]);
    new.enumeration("", false, &[("NF_NAMELESS", 7)]);
    let btf = new.btf();
    assert_eq!(btf.enum_values("small"), [("MINUS".to_owned(), -1), ("TWO".to_owned(), 2)]);
    assert_eq!(btf.enum_value("large", "ALL"), Some(0xffff_ffff));
    assert_eq!(btf.enum_value("wide", "HIGH"), Some(1 << 40));
    assert_eq!(btf.enum_value("wide", "BEYOND"), None);
    assert_eq!(btf.enum_value("wide_signed", "NEGATIVE"), Some(-1));
    assert_eq!(btf.enum_value("small", "ALL"), None);
    assert_eq!(btf.enum_value("none", "TWO"), None);
    assert_eq!(btf.enumerator("NF_NAMELESS"), Some(7));
    assert_eq!(btf.enumerator("TWO"), Some(2));
    // No prefix and no longer name is taken for the enumerator.
    assert_eq!(btf.enumerator("TW"), None);
    assert_eq!(btf.enumerator("TWOS"), None);
}

#[test]
fn enums_of_one_name_must_agree() {
    let mut new = Builder::new();
    new.enumeration("reason", false, &[]);
    new.enumeration("reason", false, &[("A", 1), ("B", 2)]);
    let agreed = new.btf();
    new.enumeration("reason", false, &[("A", 1), ("B", 3)]);
    let split = new.btf();
    assert_eq!(agreed.enum_values("reason").len(), 2);
    assert_eq!(split.enum_values("reason"), []);
    assert_eq!(split.enum_value("reason", "A"), Some(1));
    assert_eq!(split.enum_value("reason", "B"), None);
    assert_eq!(split.enumerator("B"), None);
}

#[test]
fn functions_and_tracepoints_tell_their_parameters() {
    let mut new = Builder::new();
    let void_pointer = new.of(Kind::Pointer, "", 0);
    let sock = new.of(Kind::Forward, "sock", 0);
    let constant = new.of(Kind::Const, "", sock);
    let sock_pointer = new.of(Kind::Pointer, "", constant);
    let reason = new.enumeration("skb_drop_reason", false, &[("A", 1)]);
    let size = new.int("unsigned long", 8);
    let size_t = new.of(Kind::Typedef, "size_t", size);
    let array = new.array(size, 2);
    let array_pointer = new.of(Kind::Pointer, "", array);
    let send = new.prototype(&[("sk", sock_pointer), ("len", size_t), ("pair", array_pointer), ("", 0)]);
    new.of(Kind::Function, "send", send);
    let trace = new.prototype(&[("", void_pointer), ("", sock_pointer), ("", void_pointer), ("", reason)]);
    let trace_pointer = new.of(Kind::Pointer, "", trace);
    new.of(Kind::Typedef, "btf_trace_kfree_skb", trace_pointer);
    let none = new.prototype(&[]);
    new.of(Kind::Function, "nothing", none);
    new.of(Kind::Function, "twice", none);
    new.of(Kind::Function, "twice", send);
    let btf = new.btf();
    assert_eq!(btf.func_params("send").unwrap(), ["struct sock *", "size_t", "array *", "..."]);
    assert_eq!(btf.func_params("nothing").unwrap(), Vec::<String>::new());
    assert_eq!(btf.func_params("absent"), None);
    assert_eq!(btf.func_params("twice"), None);
    assert_eq!(
        btf.tracepoint_params("kfree_skb").unwrap(),
        ["struct sock *", "void *", "enum skb_drop_reason"]
    );
    assert_eq!(btf.tracepoint_params("absent"), None);
}

#[test]
fn a_module_goes_on_where_its_kernel_ends() {
    let base = Arc::new(nested().btf());
    let mut new = Builder::on_top_of(&base);
    let outer = base.named(&[Kind::Struct], "outer")[0].0;
    let pointer = new.of(Kind::Pointer, "", outer);
    let prototype = new.prototype(&[("it", pointer)]);
    new.of(Kind::Function, "of_module", prototype);
    new.structure("module_struct", 32, &[("whole", outer, 64), ("it", pointer, 0)]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, new.bytes()).unwrap();
    let module = Btf::load_module(&base, file.path()).unwrap();
    assert_eq!(module.offset("module_struct.whole.b").unwrap(), 20);
    assert_eq!(module.offset("outer.b").unwrap(), 12);
    assert_eq!(module.func_params("of_module").unwrap(), ["struct outer *"]);
    assert!(base.offset("module_struct.it").is_err());
}

#[test]
fn what_is_not_native_btf_is_refused() {
    let good = nested().bytes();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Btf::from_bytes(&bytes).unwrap_err()
    };
    assert!(matches!(with(0, 0), BtfError::NotBtf));
    assert!(matches!(with(2, 2), BtfError::Version(2)));
    assert!(matches!(with(10, 1), BtfError::Section("type")));
    assert!(matches!(with(18, 1), BtfError::Section("string")));
    assert!(matches!(with(24 + 7, 31), BtfError::Record { id: 1, kind: 31 }));
    assert!(matches!(with(24 + 6, 1), BtfError::Record { id: 1, kind: 1 }));
    assert!(matches!(Btf::from_bytes(&[]), Err(BtfError::NotBtf)));
    assert!(matches!(Btf::from_bytes(&good[..good.len() - 1]), Err(BtfError::Section("string"))));
    let mut foreign = good.clone();
    foreign.swap(0, 1);
    assert!(matches!(Btf::from_bytes(&foreign), Err(BtfError::ForeignByteOrder)));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Btf::load(std::path::Path::new("no/such/btf")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the kernel's BTF from no/such/btf");
}
