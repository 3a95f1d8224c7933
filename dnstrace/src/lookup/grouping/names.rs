//! What a resolver makes of a name: the search list and ndots of resolv.conf(5), and the way back.
//!
//! glibc (`res_query.c`, `__res_context_search`), musl (`lookup_name.c`, `name_from_dns_search`), Go (`dnsclient_unix.go`,
//! `nameList`) and c-ares agree on the order: a name with fewer dots than ndots is tried with each domain of the search list
//! and then as it is; another one as it is and then, but for musl, with the list; one that ends with a dot only as it
//! is. They differ in what makes them go on: all do after NXDOMAIN; after NODATA glibc, Go and c-ares do, musl
//! stops; after SERVFAIL glibc goes on with the list, musl stops.

use crate::identify::{ResolverConfig, ResolverFlag};

/// A name that the program may have asked for, and how far its resolver has come with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hypothesis {
    /// Without the trailing dot.
    stem: String,
    /// Whether it was given without a trailing dot, so that the search list applies.
    is_relative: bool,
    /// Index of the name that was tried last, in the resolver's order.
    at: usize,
}

impl Hypothesis {
    /// All that make a resolver ask for `name` (with its trailing dot) first.
    pub fn all_for(name: &str, config: &ResolverConfig) -> Vec<Self> {
        let stem = stem(name);
        let with_list = config.search.first().and_then(|domain| match &**domain {
            "" => Some(stem),
            domain => stem.strip_suffix(domain)?.strip_suffix('.'),
        });
        let relative = [with_list, Some(stem)].into_iter().flatten();
        let mut all: Vec<Self> = relative
            .filter(|stem| !stem.is_empty())
            .map(|stem| Self { stem: stem.to_owned(), is_relative: true, at: 0 })
            .filter(|made| made.makes(0, name, config))
            .collect();
        all.dedup();
        all.push(Self { stem: stem.to_owned(), is_relative: false, at: 0 });
        all
    }

    /// Whether `name` is one that comes later; if so, that is where the resolver has come to. Names in between may be
    /// missing: their queries were lost, or too long to be asked.
    pub fn moves_to(&mut self, name: &str, config: &ResolverConfig) -> bool {
        let later = self.at + 1..self.length(config);
        match later.into_iter().find(|index| self.makes(*index, name, config)) {
            Some(index) => {
                self.at = index;
                true
            }
            None => false,
        }
    }

    /// Whether a resolver has more names to try, should this one not exist.
    pub fn goes_on(&self, config: &ResolverConfig) -> bool {
        self.at + 1 < self.length(config)
    }

    /// Whether every resolver goes on after NXDOMAIN: musl does not once it has asked for the name as it is.
    pub fn must_go_on(&self, config: &ResolverConfig) -> bool {
        self.goes_on(config) && !self.is_as_is_first(config)
    }

    /// The name as the program gave it. One that is asked as it is first and was not asked otherwise is told with a
    /// trailing dot: with or without one the same was asked.
    pub fn asked(&self, config: &ResolverConfig) -> String {
        let is_as_is = !self.is_relative || self.at == 0 && self.is_as_is_first(config);
        if is_as_is { format!("{}.", self.stem) } else { self.stem.clone() }
    }

    fn is_as_is_first(&self, config: &ResolverConfig) -> bool {
        let dots = self.stem.bytes().filter(|byte| *byte == b'.').count();
        config.search.is_empty() || usize::try_from(config.ndots).is_ok_and(|ndots| dots >= ndots)
    }

    /// How many names a resolver tries.
    fn length(&self, config: &ResolverConfig) -> usize {
        let never_as_is = config.has(ResolverFlag::NoTldQuery) && !self.stem.contains('.');
        match self.is_relative {
            false => 1,
            true if never_as_is && !self.is_as_is_first(config) => config.search.len(),
            true => config.search.len() + 1,
        }
    }

    /// Whether `name` is the one of this index.
    fn makes(&self, index: usize, name: &str, config: &ResolverConfig) -> bool {
        let listed = match (self.is_relative, self.is_as_is_first(config)) {
            (false, _) => None,
            (true, true) => index.checked_sub(1),
            (true, false) => Some(index),
        };
        // The name as it is comes where the list does not.
        let domain = listed.and_then(|listed| config.search.get(listed)).map_or("", |domain| domain);
        let Some(rest) = stem(name).strip_prefix(self.stem.as_str()) else { return false };
        if domain.is_empty() { rest.is_empty() } else { rest.strip_prefix('.') == Some(domain) }
    }
}

/// Without the trailing dot.
fn stem(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// What two names have in common that follow each other without a known resolv.conf, if the second looks like the next
/// try after the first: the domain behind their common beginning got shorter by whole labels, as in the search lists of
/// Kubernetes, or is gone.
pub fn common_stem<'a>(before: &'a str, next: &str) -> Option<&'a str> {
    let (before, next) = (stem(before), stem(next));
    let shared = before.split('.').zip(next.split('.')).take_while(|(a, b)| a == b);
    let length = shared.map(|(label, _)| label.len() + 1).sum::<usize>().checked_sub(1)?;
    let (domain, next_domain) = (before.get(length + 1..)?, next.get(length + 1..).unwrap_or_default());
    let is_shorter = next_domain.is_empty()
        || domain.strip_suffix(next_domain).is_some_and(|dropped| dropped.ends_with('.'));
    (length > 0 && is_shorter).then(|| before.get(..length)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ResolverConfig {
        ResolverConfig::parse(text.as_bytes())
    }

    fn kubernetes() -> ResolverConfig {
        config("search shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n")
    }

    fn asked(names: &[&str], config: &ResolverConfig) -> Vec<String> {
        let mut all = Hypothesis::all_for(names[0], config);
        for name in &names[1..] {
            all.retain_mut(|hypothesis| hypothesis.moves_to(name, config));
        }
        all.iter().map(|hypothesis| hypothesis.asked(config)).collect()
    }

    #[test]
    fn the_way_back_from_what_was_tried() {
        let k8s = kubernetes();
        let one = ["api.shop.svc.cluster.local."];
        assert_eq!(asked(&one, &k8s), ["api", "api.shop.svc.cluster.local."]);
        assert_eq!(asked(&[one[0], "api.svc.cluster.local."], &k8s), ["api"]);
        assert_eq!(asked(&[one[0], "api.cluster.local.", "api."], &k8s), ["api"]);
        assert_eq!(asked(&["example.com.shop.svc.cluster.local.", "example.com."], &k8s), ["example.com"]);
        assert_eq!(asked(&["example.com."], &k8s), ["example.com."]);
        assert_eq!(asked(&[one[0], "other.svc.cluster.local."], &k8s), [""; 0]);
        assert_eq!(asked(&["api.svc.cluster.local.", "api.cluster.local."], &k8s), [""; 0]);
        assert_eq!(asked(&["."], &k8s), ["."]);
        assert_eq!(asked(&["shop.svc.cluster.local."], &k8s), ["shop.svc.cluster.local."]);
    }

    #[test]
    fn a_name_with_enough_dots_is_tried_as_it_is_first() {
        let dots = config("search a.example b.example\noptions ndots:1\n");
        assert_eq!(asked(&["www.example."], &dots), ["www.example.", "www.example."]);
        assert_eq!(asked(&["www.example.", "www.example.a.example."], &dots), ["www.example"]);
        assert_eq!(asked(&["www.a.example."], &dots)[0], "www");
        assert_eq!(asked(&["www.x.a.example."], &dots), ["www.x.a.example.", "www.x.a.example."]);
        assert_eq!(asked(&["www.a.example.", "www."], &dots), ["www"]);
        let none = config("nameserver 8.8.8.8\n");
        assert_eq!(asked(&["www."], &none), ["www.", "www."]);
        let root = config("search .\n");
        assert_eq!(asked(&["www."], &root), ["www", "www."]);
    }

    #[test]
    fn who_would_have_gone_on() {
        let k8s = kubernetes();
        let all = Hypothesis::all_for("api.shop.svc.cluster.local.", &k8s);
        assert_eq!(all.iter().map(|h| h.must_go_on(&k8s)).collect::<Vec<_>>(), [true, false]);
        let dots = config("search a.example\noptions ndots:1\n");
        let all = Hypothesis::all_for("www.example.", &dots);
        assert_eq!(
            all.iter().map(|h| (h.goes_on(&dots), h.must_go_on(&dots))).collect::<Vec<_>>(),
            [(true, false), (false, false)]
        );
        let no_tld = config("search a.example\noptions no-tld-query\n");
        assert!(!Hypothesis::all_for("www.a.example.", &no_tld)[0].goes_on(&no_tld));
    }

    #[test]
    fn what_names_have_in_common() {
        let cases = [
            ("api.shop.svc.cluster.local.", "api.svc.cluster.local.", Some("api")),
            ("api.x.shop.svc.cluster.local.", "api.x.svc.cluster.local.", Some("api.x")),
            ("api.cluster.local.", "api.", Some("api")),
            ("www.example.com.cluster.local.", "www.example.com.", Some("www.example.com")),
            ("www.example.com.", "www.example.org.", None),
            ("www.example.com.", "ftp.example.com.", None),
            ("www.xample.com.", "www.ample.com.", None),
            ("api.", "api.cluster.local.", None),
            ("api.", "api.", None),
            (".", ".", None),
            ("a.", ".", None),
        ];
        for (before, next, stem) in cases {
            assert_eq!(common_stem(before, next), stem, "{before} {next}");
        }
    }
}
