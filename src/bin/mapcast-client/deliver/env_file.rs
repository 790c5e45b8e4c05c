//! Files of `KEY=VALUE` lines that shells and systemd read back as the same strings.

use super::object::{Object, skipped, variables};

/// Names that a shell does not store as a string: it rejects the assignment and the rest of the file (`UID` in `bash
/// --posix`), evaluates it as a number (`RANDOM` runs a command in a subscript), or acts on it (`UID` in zsh as root
/// changes the user). Tested with bash 5.2, dash 0.5.12, ksh93u+m 1.0, mksh R59, zsh 5.9 and busybox 1.35: every name
/// that they list themselves, the other names in their manuals, and the names of zsh's modules.
const RESERVED: &str = "\
ARGC BASHOPTS BASHPID BASH_ALIASES BASH_ARGC BASH_ARGV BASH_ARGV0 BASH_CMDS BASH_COMMAND BASH_COMPAT BASH_LINENO \
BASH_SOURCE BASH_SUBSHELL BASH_VERSINFO BASH_XTRACEFD COLUMNS DIRSTACK EGID EPOCHREALTIME EPOCHSECONDS ERRNO EUID \
FUNCNAME FUNCNEST GID GROUPS HISTCHARS HISTCMD HISTSIZE JOBMAX KEYBOARD_HACK KEYTIMEOUT KSHEGID KSHGID KSHUID \
KSH_VERSION LINENO LINES LISTMAX MAILCHECK OPTIND PGRP PIPESTATUS PPID RANDOM SAVEHIST SECONDS SHELLOPTS SHLVL SRANDOM \
TMOUT TRY_BLOCK_ERROR TRY_BLOCK_INTERRUPT TTYIDLE UID USERNAME USER_ID ZLE_RPROMPT_INDENT ZSH_EVAL_CONTEXT \
ZSH_SUBSHELL _ aliases argv builtins commands dis_aliases dis_builtins dis_functions dis_functions_source dis_galiases \
dis_patchars dis_reswords dis_saliases funcfiletrace funcsourcetrace funcstack functions functions_source functrace \
galiases histchars history historywords jobdirs jobstates jobtexts keymaps modules nameddirs options parameters \
patchars pipestatus reswords saliases status termcap terminfo userdirs usergroups widgets zsh_eval_context \
zsh_scheduled_events";

/// Names by which the shell that reads the file finds or changes the code that it runs next.
const OF_CODE: &str = "\
BASH_ENV CDPATH ENV EXECIGNORE EXECSHELL FPATH GLOBIGNORE IFS MODULE_PATH NULLCMD PATH POSIXLY_CORRECT PROMPT PROMPT2 \
PROMPT3 PROMPT4 PROMPT_COMMAND PS0 PS1 PS2 PS3 PS4 READNULLCMD RPROMPT RPROMPT2 RPS1 RPS2 SPROMPT cdpath fpath \
module_path path prompt psvar";

/// Prefixes of the dynamic linker's names: `LD_PRELOAD` loads code into every program started next (ld.so(8),
/// dyld(1)).
const OF_LINKER: [&str; 2] = ["LD_", "DYLD_"];

/// Returns the content of the file for `object`, and the keys of the skipped entries, except those with a null value.
pub(super) fn render(object: &Object) -> (String, Vec<String>) {
    let mut variables = variables(object);
    variables.retain(|(name, word)| !is_reserved(name) && !word.contains(is_noncharacter));
    let skipped = skipped(object, &variables).into_iter().map(str::to_owned).collect();
    let lines = variables.into_iter().map(|(name, word)| [name, "=", &quote(&word), "\n"].concat());
    let file = lines.collect();
    (file, skipped)
}

/// True if and only if a shell would not simply store an assignment to `name`.
fn is_reserved(name: &str) -> bool {
    let mut names = RESERVED.split(' ').chain(OF_CODE.split(' '));
    names.any(|reserved| reserved == name) || OF_LINKER.iter().any(|prefix| name.starts_with(prefix))
}

/// True for noncharacters: systemd rejects a file that contains one (`unichar_is_valid`).
fn is_noncharacter(character: char) -> bool {
    let code = u32::from(character);
    (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

/// Returns a value as shells, systemd's `EnvironmentFile=` and docker compose read it back. It is bare if no reader
/// could misread it, because `docker run --env-file` does not support quotes. Otherwise it is in double quotes, or in
/// single quotes around the four characters that are special in double quotes (POSIX shell, 2.2.3), with each `'` in
/// double quotes. No backslash escapes anything: a shell in a GBK or Big5 locale takes one for the second half of a
/// character.
fn quote(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
    // In zsh, `=ls` at the start and after a colon expands to the path of ls.
    if word.bytes().all(is_plain) && !word.starts_with('=') && !word.contains(":=") {
        return word.to_owned();
    }
    if word.contains(['"', '\\', '$', '`']) {
        return format!("'{}'", word.replace('\'', r#"'"'"'"#));
    }
    format!("\"{word}\"")
}

#[cfg(test)]
mod tests;
