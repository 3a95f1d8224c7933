//! Which module files to load, and in which order, so that some modules work.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result};

/// A kernel's `modules.dep`: module files with the files they need, as paths below the release's directory.
#[derive(Debug)]
pub struct ModuleIndex<'a> {
    needs: HashMap<&'a str, Vec<&'a str>>,
    path_by_name: HashMap<String, &'a str>,
}

impl<'a> ModuleIndex<'a> {
    /// Reads lines such as `kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz`.
    pub fn parse(modules_dep: &'a str) -> Self {
        let lines = modules_dep.lines().filter_map(|line| line.split_once(':'));
        let needs: HashMap<_, Vec<_>> =
            lines.map(|(path, needs)| (path, needs.split_whitespace().collect())).collect();
        let path_by_name = needs.keys().map(|path| (module_name(path), *path)).collect();
        Self { needs, path_by_name }
    }

    /// The files of `names` and of all that they need, each after what it needs. `built_in` is the kernel's
    /// `modules.builtin`: the modules that need no file.
    pub fn load_order(&self, names: &[&str], built_in: &str) -> Result<Vec<&'a str>> {
        let built_in: HashSet<String> = built_in.lines().map(module_name).collect();
        let mut order = Vec::new();
        for &name in names {
            if built_in.contains(name) {
                continue;
            }
            let path =
                self.path_by_name.get(name).with_context(|| format!("the kernel has no module {name}"))?;
            self.append(path, &mut order);
        }
        Ok(order)
    }

    fn append(&self, path: &'a str, order: &mut Vec<&'a str>) {
        if order.contains(&path) {
            return;
        }
        // depmod lists all that is needed, the nearest first.
        for needed in self.needs.get(path).into_iter().flatten().rev() {
            if !order.contains(needed) {
                order.push(needed);
            }
        }
        order.push(path);
    }
}

/// `kernel/drivers/virtio/virtio-rng.ko.xz` is the module `virtio_rng`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet.ko.xz:
kernel/fs/netfs/netfs.ko.xz:
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/drivers/virtio/virtio_ring.ko.xz kernel/drivers/virtio/virtio.ko.xz
kernel/drivers/virtio/virtio_ring.ko.xz: kernel/drivers/virtio/virtio.ko.xz
kernel/drivers/virtio/virtio.ko.xz:
kernel/drivers/char/hw_random/virtio-rng.ko.xz:
";

    fn order(names: &[&str], built_in: &str) -> Result<Vec<&'static str>> {
        ModuleIndex::parse(DEP).load_order(names, built_in)
    }

    #[test]
    fn each_module_comes_after_what_it_needs_and_once() -> Result<()> {
        assert_eq!(
            order(&["9p", "9pnet_virtio"], "")?,
            [
                "kernel/fs/netfs/netfs.ko.xz",
                "kernel/net/9p/9pnet.ko.xz",
                "kernel/fs/9p/9p.ko.xz",
                "kernel/drivers/virtio/virtio.ko.xz",
                "kernel/drivers/virtio/virtio_ring.ko.xz",
                "kernel/net/9p/9pnet_virtio.ko.xz",
            ]
        );
        Ok(())
    }

    #[test]
    fn dash_in_the_file_is_underscore_in_the_name() -> Result<()> {
        assert_eq!(order(&["virtio_rng"], "")?, ["kernel/drivers/char/hw_random/virtio-rng.ko.xz"]);
        Ok(())
    }

    #[test]
    fn built_in_modules_need_no_file() -> Result<()> {
        assert!(order(&["virtio_console"], "kernel/drivers/char/virtio_console.ko\n")?.is_empty());
        Ok(())
    }

    #[test]
    fn unknown_module_is_named() {
        let error = order(&["overlay"], "").map_err(|error| error.to_string());
        assert_eq!(error, Err("the kernel has no module overlay".to_owned()));
    }
}
