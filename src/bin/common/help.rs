//! The help of both programs: groups of options, a short page of the most used ones, variables, exit codes, examples.

use std::io::{self, Write};
use std::process;

use clap::builder::StyledStr;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};

/// The width of every help text, in columns.
const WIDTH: usize = 80;

/// The place of an option after all others.
const LAST: usize = 10_000;

/// What the help of a program has besides its options.
pub(crate) struct Help {
    /// The heading of each group, and the ids of its options in their order. Each option is in one group.
    pub(crate) groups: &'static [(&'static str, &'static [&'static str])],
    /// The ids of the options on the short page, each with a shorter name of its value, or an empty one, and a description
    /// that fits into its line.
    pub(crate) most_used: &'static [(&'static str, &'static str, &'static str)],
    /// What the arguments in the usage line of the short page are; empty for none.
    pub(crate) arguments: &'static str,
    /// The options of the program that a command does not use, by the name of the command.
    pub(crate) unused: fn(&str) -> &'static [&'static str],
    /// Variables without an option.
    pub(crate) variables: &'static [(&'static str, &'static str)],
    pub(crate) exit_codes: &'static [(&'static str, &'static str)],
    /// Command lines, and what they do.
    pub(crate) examples: &'static [(&'static str, &'static str)],
}

/// How each option is set by a variable; in lines that fit into the help.
pub(crate) const RULE: &str = "Every option has a variable: MAPCAST_MAX_FRAME=2MiB is --max-frame 2MiB. The\n\
                               command line takes precedence. A switch is true or false; -v and -q are counts.";

impl Help {
    /// Returns `command` with the options in their groups, and with the texts of the help.
    pub(crate) fn arrange(&self, command: Command) -> Command {
        let name = command.get_name().to_owned();
        let globals: Vec<Arg> = command.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
        let options: Vec<String> = command.get_opts().map(|arg| arg.get_id().to_string()).collect();
        command
            .max_term_width(WIDTH)
            .disable_help_flag(true)
            .disable_version_flag(true)
            .args([help_flag(), version_flag()])
            .mut_args(|arg| self.place(arg))
            .after_long_help(self.end())
            .mut_subcommands(|command| self.arrange_command(&name, &globals, &options, command))
    }

    /// Does the same for a command of the program `name`, whose `options` include the `globals` of all commands.
    fn arrange_command(&self, name: &str, globals: &[Arg], options: &[String], command: Command) -> Command {
        let unused = (self.unused)(command.get_name());
        let page = format!("{name} {}", command.get_name());
        let has = |arg: &&Arg| command.get_arguments().any(|other| other.get_id() == arg.get_id());
        let inherited: Vec<Arg> = globals.iter().filter(|arg| !has(arg)).cloned().collect();
        let arrange = |arg: Arg| {
            let is_hidden = unused.contains(&arg.get_id().as_str());
            let is_inherited = !arg.is_positional() && options.iter().any(|id| arg.get_id() == id.as_str());
            let is_rare = is_inherited && self.rank(&arg).is_none();
            let arg = if is_rare { self.place(arg) } else { arg.hide_env(true) };
            arg.hide(is_hidden).hide_short_help(is_rare)
        };
        command
            .args(inherited)
            .arg(help_flag().display_order(LAST))
            .mut_args(arrange)
            .after_help(format!("All options: {page} --help"))
            .after_long_help(format!("Variables and exit codes: {name} --help"))
    }

    /// Returns the short page of `command`, which [`Help::arrange`] has returned.
    pub(crate) fn short_page(&self, command: Command) -> StyledStr {
        let names = command.get_subcommands().map(Command::get_name).filter(|name| *name != "help");
        let commands = names.collect::<Vec<_>>().join(", ");
        let name = command.get_name().to_owned();
        let examples = lines(self.examples);
        let template = format!(
            "{{about}}\n\n{{usage-heading}} {{usage}}\n{}Commands: {commands}\n\nOptions (all of them: {name} --help):\n{{options}}\n\n\
             Examples:\n{}",
            if self.arguments.is_empty() { "\n".to_owned() } else { format!("{}\n", self.arguments) },
            examples.trim_end()
        );
        let on_page = |arg: Arg| {
            let Some(rank) = self.rank(&arg) else {
                let is_option = !arg.is_positional();
                return arg.hide(is_option);
            };
            let (_, value, text) = self.most_used.get(rank).copied().unwrap_or_default();
            let takes_values = arg.get_action().takes_values();
            let arg = arg.help(text).display_order(rank).hide_default_value(takes_values);
            let arg = arg.hide_possible_values(takes_values);
            if value.is_empty() { arg } else { arg.value_name(value) }
        };
        command.mut_args(on_page).help_template(template).render_help()
    }

    /// Prints the short page and exits if `error` is the help of the whole program, requested by `-h`.
    pub(crate) fn exit_if_short(&self, error: &clap::Error, definition: Command) {
        let is_help = error.kind() == ErrorKind::DisplayHelp;
        if is_help && error.render().to_string() == definition.clone().render_help().to_string() {
            // As for the whole help, a closed or full output is not an error.
            let _ = writeln!(io::stdout(), "{}", self.short_page(definition).to_string().trim_end());
            process::exit(0);
        }
    }

    /// Where the option is on the short page.
    fn rank(&self, arg: &Arg) -> Option<usize> {
        self.most_used.iter().position(|(id, ..)| arg.get_id() == id)
    }

    /// Puts an option of the program into its group.
    fn place(&self, arg: Arg) -> Arg {
        let arg = arg.hide_env(true);
        let in_group = self.groups.iter().find_map(|(heading, ids)| {
            let place = ids.iter().position(|id| arg.get_id() == id)?;
            Some((*heading, place))
        });
        match in_group {
            Some((heading, place)) => arg.help_heading(heading).display_order(place),
            None => arg,
        }
    }

    /// The end of the whole help.
    fn end(&self) -> String {
        let (variables, exit_codes) = (lines(self.variables), lines(self.exit_codes));
        let (rule, examples) = (RULE.replace('\n', "\n  "), lines(self.examples));
        format!("Variables:\n  {rule}\n{variables}\nExit codes:\n{exit_codes}\nExamples:\n{}", examples.trim_end())
    }
}

fn help_flag() -> Arg {
    let text = "Print help: -h the most used options, --help all";
    Arg::new("help").short('h').long("help").action(ArgAction::Help).help(text)
}

fn version_flag() -> Arg {
    Arg::new("version").short('V').long("version").action(ArgAction::Version).help("Print the version")
}

/// Returns a line for each row, with its second column aligned.
fn lines(rows: &[(&str, &str)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines: Vec<_> = rows.iter().map(|(name, text)| format!("  {name:width$}  {text}\n")).collect();
    lines.concat()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Fails unless the help of `command`, which [`Help::arrange`] has returned, fits and is complete.
    #[track_caller]
    pub(crate) fn assert_fits(help: &Help, command: &Command) {
        let short = help.short_page(command.clone()).to_string();
        assert!(short.lines().count() <= 24, "{} lines:\n{short}", short.lines().count());
        assert!(short.contains(&format!("{} --help", command.get_name())), "{short}");
        let mut built = command.clone();
        built.build();
        let long = built.clone().render_long_help().to_string();
        let pages = built.get_subcommands().cloned().flat_map(|mut command| {
            let [short, long] = [command.render_help(), command.render_long_help()].map(|page| page.to_string());
            assert!(short.lines().count() <= 30, "{short}");
            assert!(!long.contains("[env: "), "{long}");
            [short, long]
        });
        for page in [short, long.clone()].into_iter().chain(pages) {
            for line in page.lines() {
                assert!(line.chars().count() <= WIDTH, "{} columns: {line}", line.chars().count());
            }
        }
        assert!(!long.contains("[env: "), "{long}");
        let shown: Vec<_> =
            long.lines().filter_map(|line| line.strip_suffix(':')).filter(|l| !l.starts_with(' ')).collect();
        let headings: Vec<_> = help.groups.iter().map(|(heading, _)| *heading).collect();
        assert_eq!(shown, [&["Commands"][..], &headings, &["Variables", "Exit codes", "Examples"]].concat());
    }

    /// Fails unless each option of `command` is in one group, and each id in a group is an option.
    #[track_caller]
    pub(crate) fn assert_grouped(help: &Help, command: &Command) {
        let mut grouped: Vec<_> = help.groups.iter().flat_map(|(_, ids)| ids.iter().copied()).collect();
        let mut ids: Vec<_> = command.get_arguments().map(|arg| arg.get_id().as_str()).collect();
        grouped.sort_unstable();
        ids.sort_unstable();
        assert_eq!(grouped, ids);
        assert!(help.most_used.iter().all(|(id, ..)| ids.contains(id)), "{:?}", help.most_used);
    }

    /// Returns the words of an example, as a shell splits them; single quotes enclose spaces.
    pub(crate) fn words(example: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        for (index, part) in example.split('\'').enumerate() {
            let mut pieces = if index % 2 == 0 { part.split(' ').collect() } else { vec![part] }.into_iter();
            let first = pieces.next().unwrap_or_default();
            words.last_mut().unwrap().push_str(first);
            words.extend(pieces.map(str::to_owned));
        }
        words.retain(|word| !word.is_empty());
        words
    }
}
