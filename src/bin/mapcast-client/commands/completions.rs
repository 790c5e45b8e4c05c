//! `completions`: prints a shell's completions.

use clap::Command;
use clap_complete::Shell;

/// Returns the completions of `command` for `shell`.
pub(super) fn completions(shell: Shell, mut command: Command) -> Vec<u8> {
    let (mut script, name) = (Vec::new(), command.get_name().to_owned());
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}
