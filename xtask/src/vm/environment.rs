//! What the command in the VM starts with: working directory, variables, shell.

use std::{
    env,
    io::{self, IsTerminal as _},
    path::Path,
};

use anyhow::{Context as _, Result};

/// The machine's own shell, which the VM has too.
pub fn shell() -> &'static str {
    if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" }
}

/// A script that makes the command's environment and becomes the command. `programs` comes first on PATH.
pub fn start_script(repository: &Path, programs: &Path) -> Result<String> {
    let mut script = String::new();
    for (name, value) in variables(programs) {
        let value = shlex::try_quote(&value).with_context(|| format!("{name} has a NUL byte"))?;
        script.push_str(&format!("export {name}={value}\n"));
    }
    let repository = repository.to_str().context("the repository's path is not UTF-8")?;
    script.push_str(&format!("cd {}\n", shlex::try_quote(repository)?));
    script.push_str(&format!("exec {} /run/vm/command\n", shell()));
    Ok(script)
}

fn variables(programs: &Path) -> Vec<(&'static str, String)> {
    let system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut variables = vec![
        ("HOME", "/root".to_owned()),
        ("USER", "root".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("PATH", format!("{}:{system}", programs.display())),
    ];
    variables.extend(terminal());
    variables
}

/// The command writes into a pipe, so what it would ask its terminal is told it here.
fn terminal() -> Vec<(&'static str, String)> {
    let handed_on = |name| env::var(name).ok().map(|value| (name, value));
    if !io::stdout().is_terminal() {
        return ["COLUMNS", "NO_COLOR"].into_iter().filter_map(handed_on).collect();
    }
    let mut variables: Vec<_> = ["TERM", "COLORTERM", "NO_COLOR"].into_iter().filter_map(handed_on).collect();
    if env::var_os("NO_COLOR").is_none() {
        variables.push(("CLICOLOR_FORCE", "1".to_owned()));
    }
    if let Some((width, height)) = terminal_size::terminal_size() {
        variables.push(("COLUMNS", width.0.to_string()));
        variables.push(("LINES", height.0.to_string()));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_blanks_are_quoted() -> Result<()> {
        let script = start_script(Path::new("/src/my work"), Path::new("/src/my work/bin"))?;
        assert!(script.contains("\ncd '/src/my work'\n"), "{script}");
        assert!(script.contains("export PATH='/src/my work/bin:/usr/local/sbin:"), "{script}");
        Ok(())
    }
}
