//! `dnstrace completions` and `dnstrace man`: made from the definition of the command line, so that they cannot tell of
//! another one.

use anyhow::Result;
use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Args;

/// The name that is completed.
const NAME: &str = "dnstrace";

/// What a shell reads to complete the command line.
pub fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), NAME, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The man page, as roff.
///
/// # Errors
/// None that a buffer in memory gives.
pub fn man() -> Result<String> {
    let command = Args::command().disable_help_subcommand(true);
    let names: Vec<_> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    let page = String::from_utf8(page)?;
    // It refers to a page for each subcommand: there are none.
    let written = |name: &String| format!("{NAME}\\-{name}(1)");
    Ok(names.iter().fold(page, |page, name| page.replace(&written(name), &format!("{NAME} {name}"))))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_completes_options_and_columns() {
        for shell in Shell::value_variants() {
            let text = completions(*shell);
            for word in ["slower-than", "columns", "completions"] {
                assert!(text.contains(word), "{shell}: no {word}");
            }
            // What elvish and PowerShell complete are options and commands alone.
            if matches!(shell, Shell::Bash | Shell::Fish | Shell::Zsh) {
                assert!(text.contains("CONTAINER"), "{shell}: no columns");
            }
        }
    }

    #[test]
    fn the_man_page_tells_of_options_columns_and_commands() {
        let page = man().unwrap();
        assert!(page.starts_with(".ie") && page.contains(".TH dnstrace 1"), "{page}");
        for word in [
            "slower\\-than",
            "CONTAINER",
            "inode number of the network namespace",
            "dnstrace hooks",
            "dnstrace summary",
            "Exit codes",
        ] {
            assert!(page.contains(word), "no {word} in\n{page}");
        }
        assert!(!page.contains("dnstrace\\-hooks"), "a page that is not there:\n{page}");
    }
}
