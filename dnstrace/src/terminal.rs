//! What stdout is: a terminal of some width, or a file or pipe.

use std::io;

use anstream::AutoStream;
use clap::ColorChoice;
use terminal_size::{Width, terminal_size_of};

/// Cells of a line if stdout is a terminal that knows. What is read by a program is never shortened, not even if COLUMNS
/// is set: a file would lack what its writer's window was too narrow for.
pub fn width() -> Option<usize> {
    let (Width(cells), _) = terminal_size_of(io::stdout())?;
    // A serial console does not know.
    Some(usize::from(cells)).filter(|cells| *cells > 0)
}

/// Whether to print in colours. What the command line says goes before the environment (NO_COLOR, CLICOLOR_FORCE,
/// TERM=dumb), and that before what stdout is.
pub fn wants_colours(choice: ColorChoice) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never,
    }
}
