//! Functions and tracepoints: what they are called with.

use super::{Btf, Kind, MAX_CHAIN, format, unanimous};

impl Btf {
    /// Types of a function's parameters, as C without qualifiers: `["struct sock *", "struct msghdr *",
    /// "size_t"]`. None if there is no such function, or if several of the name (static ones) differ.
    pub fn func_params(&self, name: &str) -> Option<Vec<String>> {
        let functions = self.named(&[Kind::Function], name).into_iter();
        unanimous(functions.filter_map(|(_, found)| self.parameters(self.get(found.word)?)))
    }

    /// Types of a raw tracepoint's arguments: for `kfree_skb` those of the type `btf_trace_kfree_skb`, a
    /// pointer to a function, without the leading `void *` that is the kernel's own. None if there is no such
    /// tracepoint in this BTF (some are their module's).
    pub fn tracepoint_params(&self, name: &str) -> Option<Vec<String>> {
        let name = format!("btf_trace_{name}");
        let typedefs = self.named(&[Kind::Typedef], &name).into_iter();
        let parameters = unanimous(typedefs.filter_map(|(_, found)| {
            let (_, pointer) = self.resolve(found.word).filter(|(_, found)| found.kind == Kind::Pointer)?;
            self.parameters(self.get(pointer.word)?)
        }))?;
        Some(parameters.into_iter().skip(1).collect())
    }

    fn parameters(&self, prototype: format::Type<'_>) -> Option<Vec<String>> {
        let type_name = |parameter: &format::Parameter| match (parameter.name.get(), parameter.of.get()) {
            (0, 0) => "...".to_owned(),
            (_, of) => self.type_name(of),
        };
        (prototype.kind == Kind::Prototype).then(|| prototype.parameters().iter().map(type_name).collect())
    }

    /// How C would call the type, about: qualifiers left out, functions and arrays only hinted at.
    fn type_name(&self, id: u32) -> String {
        let (mut id, mut suffix) = (id, String::new());
        for _ in 0..MAX_CHAIN {
            let Some(found) = self.get(id) else { return format!("void{}", spaced(&suffix)) };
            let prefix = match found.kind {
                Kind::Pointer => {
                    suffix.push('*');
                    id = found.word;
                    continue;
                }
                Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                    id = found.word;
                    continue;
                }
                Kind::Struct => "struct ",
                Kind::Forward if !found.flag => "struct ",
                Kind::Union | Kind::Forward => "union ",
                Kind::Enum | Kind::Enum64 => "enum ",
                Kind::Prototype => "function",
                Kind::Array => "array",
                _ => "",
            };
            return format!("{prefix}{}{}", self.string(found.name), spaced(&suffix));
        }
        "?".to_owned()
    }
}

fn spaced(suffix: &str) -> String {
    if suffix.is_empty() { String::new() } else { format!(" {suffix}") }
}
