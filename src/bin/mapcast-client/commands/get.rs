//! `get`: prints values of the current map.
#![allow(clippy::doc_markdown, reason = "comments on options are help texts, without backticks")]

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use anyhow::bail;
use clap::{Args, ValueEnum};
use mapcast::client::{ClientConfig, Error, FollowConfig, Follower};
use mapcast::{Format, Key, Map, Shutdown, Value};

use super::path::select;
use crate::address::{ServerArgs, warn_of_address};
use crate::hidden;
use crate::raw_value::raw;
use crate::refusal;
use crate::selection::MissingKey;
use crate::timeout_hint;

/// The values to print.
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Keys, paths of nested values (a.b, list.0) or patterns (sensor/*) [default: the whole map]
    #[arg(value_name = "KEY", allow_negative_numbers = true)]
    keys: Vec<String>,
    /// How to print the values [default: value, or text without KEY]
    #[arg(short, long, value_enum)]
    output: Option<GetOutput>,
}

/// How values are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GetOutput {
    /// One line per value: text without quotes, JSON for all else
    Value,
    /// One KEY=VALUE line per value
    Text,
    /// One JSON object
    Json,
}

/// Receives one map from the server by `deadline` and prints the requested values to `out`.
///
/// # Errors
/// [`MissingKey`] if the map lacks one of them; then nothing is printed.
pub(super) fn get(
    args: &GetArgs,
    client: ClientConfig,
    out: &mut impl Write,
    shutdown: &Shutdown,
    deadline: Option<Instant>,
) -> anyhow::Result<()> {
    let (is_encrypted, address) = (client.tls.is_some(), &args.server.address);
    let follow = FollowConfig { client, reconnect: false, ..FollowConfig::default() };
    let mut follower = Follower::new(address, follow, shutdown);
    follower.set_deadline(deadline);
    let payload = match follower.next_payload() {
        Ok(Some(payload)) => payload,
        Ok(None) => bail!("{}", refusal::text(address, is_encrypted)),
        Err(error @ Error::Connect { .. }) => {
            args.keys.iter().for_each(|key| warn_of_address(key, "--server"));
            return Err(error.into());
        }
        Err(error) => return Err(timeout_hint::explain(error.into(), &follower, is_encrypted)),
    };
    let map = follower.decode_map(&payload)?;
    let printed = render(&map, args, io::stdout().is_terminal())?;
    out.write_all(&printed).map_err(crate::stdout::write_error)?;
    Ok(())
}

/// Returns what is printed.
fn render(map: &Map, args: &GetArgs, is_terminal: bool) -> anyhow::Result<Vec<u8>> {
    let mut found: Vec<(Key, &Value)> = Vec::new();
    for path in &args.keys {
        let values = select(map, path);
        if values.is_empty() {
            warn_of_address(path, "--server");
            return Err(MissingKey::new(path).into());
        }
        found.extend(values);
    }
    let default = if args.keys.is_empty() { GetOutput::Text } else { GetOutput::Value };
    let selected = || -> Map { found.iter().map(|(key, value)| (key.clone(), (*value).clone())).collect() };
    let selected = || if args.keys.is_empty() { map.clone() } else { selected() };
    match args.output.unwrap_or(default) {
        GetOutput::Value => {
            let all =
                if args.keys.is_empty() { map.values().collect() } else { found.iter().map(|(_, v)| *v).collect() };
            lines(all, is_terminal)
        }
        GetOutput::Text => {
            let text = Format::Text.encode_map(&selected()).map_err(Error::Format)?;
            // The line of an empty map is blank, because a payload is never empty.
            let text = if text == b"\n" { Vec::new() } else { text };
            Ok(if is_terminal { hidden::escape_lines(str::from_utf8(&text)?)?.into_bytes() } else { text })
        }
        GetOutput::Json => {
            let json = Format::Json.encode_map(&selected()).map_err(Error::Format)?;
            Ok((hidden::escape_json(str::from_utf8(&json)?) + "\n").into_bytes())
        }
    }
}

fn lines(values: Vec<&Value>, is_terminal: bool) -> anyhow::Result<Vec<u8>> {
    let mut lines = String::new();
    for value in values {
        lines.push_str(&raw(value, is_terminal).map_err(Error::Format)?);
        lines.push('\n');
    }
    Ok(lines.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(keys: &[&str], output: Option<GetOutput>) -> anyhow::Result<String> {
        let server = ServerArgs { address: "h:1".to_owned() };
        let args = GetArgs { server, keys: keys.iter().map(|key| (*key).to_owned()).collect(), output };
        let map = Format::Json.decode_map(br#"{"b":{"c":"x y"},"a":"text","n":1.5}"#)?;
        Ok(String::from_utf8(render(&map, &args, false)?)?)
    }

    #[test]
    fn values_are_printed_in_the_order_of_the_keys() {
        assert_eq!(rendered(&["n", "b.c", "b"], None).unwrap(), "1.5\nx y\n{\"c\":\"x y\"}\n");
        assert_eq!(rendered(&["?"], None).unwrap(), "text\n{\"c\":\"x y\"}\n1.5\n");
    }

    #[test]
    fn without_a_key_each_entry_is_a_line() {
        let all = "a=text\nb={\"c\":\"x y\"}\nn=1.5\n";
        assert_eq!(rendered(&[], None).unwrap(), all);
        assert_eq!(rendered(&[], Some(GetOutput::Value)).unwrap(), "text\n{\"c\":\"x y\"}\n1.5\n");
    }

    #[test]
    fn each_output_has_its_own_form() {
        assert_eq!(rendered(&["b.c", "n"], Some(GetOutput::Text)).unwrap(), "b.c=x y\nn=1.5\n");
        assert_eq!(rendered(&["b.c", "n"], Some(GetOutput::Json)).unwrap(), "{\"b.c\":\"x y\",\"n\":1.5}\n");
    }

    #[test]
    fn a_missing_key_is_named_and_nothing_is_printed() {
        for key in ["x", "b.x", "x*"] {
            let error = rendered(&["n", key], None).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&MissingKey::new(key)), "{error}");
        }
    }
}
