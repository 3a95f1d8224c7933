//! Real kernels, Debian's for amd64, trimmed to what [`wanted`] lists.

use std::{collections::BTreeSet, env, fs, path::Path};

use super::{
    super::{
        super::{
            hooks::{Needs, TABLE},
            offsets,
        },
        Btf, Kind,
    },
    trim::Trim,
    wanted,
};

/// Series and trimmed BTF.
pub const KERNELS: &[(&str, &[u8])] = &[
    ("5.10", include_bytes!("../fixtures/5.10.btf")),
    ("6.1", include_bytes!("../fixtures/6.1.btf")),
    ("6.12", include_bytes!("../fixtures/6.12.btf")),
    ("6.18", include_bytes!("../fixtures/6.18.btf")),
    ("7.2", include_bytes!("../fixtures/7.2.btf")),
];

fn kernels() -> impl Iterator<Item = (&'static str, Btf)> {
    KERNELS.iter().map(|(series, bytes)| (*series, Btf::from_bytes(bytes).unwrap()))
}

/// Everything wanted that this BTF can tell, a line each.
fn report(btf: &Btf) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for path in wanted::paths() {
        let told = btf.offset(path).map(|offset| {
            let size = btf.member_size(path).unwrap();
            let pointer = if btf.member_is_pointer(path).unwrap() { "*" } else { "" };
            format!("{offset}:{size}{pointer}")
        });
        lines.push((path.to_owned(), told.unwrap_or_else(|_| "-".to_owned())));
    }
    for name in wanted::TRACEPOINTS {
        let told = btf.tracepoint_params(name).map_or("-".to_owned(), |types| types.join(", "));
        lines.push((format!("tracepoint {name}"), told));
    }
    for name in wanted::FUNCTIONS {
        let told = btf.func_params(name).map_or("-".to_owned(), |types| types.join(", "));
        lines.push((format!("{name}()"), told));
    }
    for name in wanted::ENUMS {
        for (enumerator, value) in btf.enum_values(name) {
            lines.push((format!("{name} {enumerator}"), value.to_string()));
        }
    }
    lines
}

/// Offset and size in bytes, `*` for a pointer, of every member on every kernel.
#[test]
fn members() {
    let all = kernels().collect::<Vec<_>>();
    let mut table = format!("{:36}", "");
    table.extend(all.iter().map(|(series, _)| format!("{series:>10}")));
    let reports = all.iter().map(|(_, btf)| report(btf)).collect::<Vec<_>>();
    for (row, path) in wanted::paths().enumerate() {
        table += &format!("\n{path:36}");
        table.extend(reports.iter().map(|report| format!("{:>10}", report[row].1)));
    }
    insta::assert_snapshot!(table);
}

#[test]
fn each_kernel_has_each_member_under_one_of_its_names() {
    for (series, btf) in kernels() {
        for names in wanted::MEMBERS {
            if let Err(error) = btf.first_offset(names) {
                assert!(wanted::OPTIONAL_MEMBERS.contains(&names[0]), "{series}: {error}");
            }
        }
    }
}

/// If this fails after a new member in `Offsets`: add it to [`wanted`] and run `cargo xtask btf`.
#[test]
fn each_kernel_has_what_the_programs_need() {
    for (series, btf) in kernels() {
        if let Err(error) = offsets::resolve(&btf) {
            panic!("{series}: {error}");
        }
    }
}

/// A module's functions are in its own BTF, and a function may be there under one of several names. If this fails after
/// a new row: add its targets to [`wanted`] and run `cargo xtask btf`.
#[test]
fn each_kernel_has_what_the_hooks_attach_to() {
    for (series, btf) in kernels() {
        for row in TABLE.iter().filter(|row| row.needs == Needs::Nothing) {
            let known = row.targets.iter().any(|target| match row.kind.is_function() {
                true => btf.func_params(target).is_some(),
                false => btf.tracepoint_params(target).is_some(),
            });
            assert!(known, "{series}: {:?}", row.targets);
        }
    }
}

#[test]
fn tracepoints_and_functions() {
    let mut text = String::new();
    for (series, btf) in kernels() {
        text += &format!("{series}\n");
        for (name, told) in
            report(&btf).iter().filter(|(name, _)| name.contains("()") || name.starts_with("tr"))
        {
            text += &format!("  {name}: {told}\n");
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn enumerators() {
    let value =
        |name, enumerator| kernels().map(|(_, btf)| btf.enum_value(name, enumerator)).collect::<Vec<_>>();
    // Bit flags on 5.10, renumbered when ITER_UBUF came (6.0) and again in 6.4.
    assert_eq!(value("iter_type", "ITER_IOVEC"), [Some(4), Some(0), Some(1), Some(1), Some(1)]);
    assert_eq!(value("iter_type", "ITER_UBUF"), [None, Some(6), Some(0), Some(0), Some(0)]);
    let netfilter = value("skb_drop_reason", "SKB_DROP_REASON_NETFILTER_DROP");
    assert_eq!(netfilter, [None, Some(7), Some(11), Some(12), Some(12)]);
    let memory = kernels().map(|(_, btf)| btf.enumerator("memory_cgrp_id")).collect::<Vec<_>>();
    assert_eq!(memory, value("cgroup_subsys_id", "memory_cgrp_id"));
    assert_eq!(memory, [Some(4), Some(4), Some(4), Some(4), Some(4)]);
    let reasons = kernels().map(|(_, btf)| btf.enum_values("skb_drop_reason").len()).collect::<Vec<_>>();
    assert_eq!(reasons, [0, 67, 106, 129, 128]);
}

/// Writes the fixtures anew and checks that each tells the same as its whole kernel.
///
/// `cargo xtask btf` runs it: `DNSTRACE_KERNEL_BTF` names a directory with the whole BTF of each series, `5.10.btf`
/// and so on.
#[test]
#[ignore = "writes into the source tree; needs whole kernels' BTF"]
fn regenerate() {
    let source = env::var("DNSTRACE_KERNEL_BTF").expect("DNSTRACE_KERNEL_BTF names no directory");
    for (series, _) in KERNELS {
        let whole = Btf::load(&Path::new(&source).join(format!("{series}.btf"))).unwrap();
        let trimmed = trim(&whole);
        assert_eq!(report(&Btf::from_bytes(&trimmed).unwrap()), report(&whole), "{series}");
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/capture/btf/fixtures");
        fs::write(fixtures.join(format!("{series}.btf")), trimmed).unwrap();
    }
}

fn trim(whole: &Btf) -> Vec<u8> {
    let mut trim = Trim::default();
    for path in wanted::paths().collect::<BTreeSet<_>>() {
        trim.keep_member(whole, path);
    }
    for name in wanted::ENUMS {
        trim.keep(whole, &[Kind::Enum, Kind::Enum64], name);
    }
    for name in wanted::TRACEPOINTS {
        trim.keep(whole, &[Kind::Typedef], &format!("btf_trace_{name}"));
    }
    for name in wanted::FUNCTIONS {
        trim.keep(whole, &[Kind::Function], name);
    }
    trim.finish(whole)
}
