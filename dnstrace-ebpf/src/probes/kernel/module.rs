//! Modules.

use dnstrace_ebpf::wire::MODULE_NAME_LEN;

use super::{Skip, offset, read};

/// `struct module *`
#[derive(Clone, Copy)]
pub struct Module(pub u64);

impl Module {
    /// `mod->name`, NUL-padded.
    #[inline(always)]
    pub fn name(self) -> Result<[u8; MODULE_NAME_LEN], Skip> {
        read(self.0, offset!(module_name))
    }
}
