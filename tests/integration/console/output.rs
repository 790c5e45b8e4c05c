//! Whether the lines that a program printed are those that a page shows.

/// True if and only if the line stands for any number of lines.
fn is_any(line: &str) -> bool {
    matches!(line.trim(), "…" | "...")
}

/// What makes two lines comparable: times, process ids, ports of the system and durations are alike.
fn normal(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        let bare = word.trim_end_matches([',', ':', ')', ';']);
        let rest = &word[bare.len()..];
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let after = words.last().map(String::as_str);
        if ["ms", "us", "s"].contains(&bare) && after.is_some_and(|after| after.contains('.') && is_number(after)) {
            words.pop();
            words.push(format!("DURATION{rest}"));
            continue;
        }
        let unit = ["ms", "us", "s"].into_iter().find(|unit| bare.strip_suffix(unit).is_some_and(is_number));
        words.push(if word.starts_with("[20") && bare.ends_with('Z') {
            "[TIME".to_owned()
        } else if after == Some("pid") && is_number(bare) {
            format!("PID{rest}")
        } else if bare.strip_prefix("127.0.0.1:").is_some_and(|port| port.len() == 5 && is_number(port)) {
            format!("127.0.0.1:PORT{rest}")
        } else if bare.contains('.') && unit.is_some() {
            format!("DURATION{rest}")
        } else {
            word.to_owned()
        });
    }
    words.join(" ")
}

/// True if and only if `actual` is the line that the page shows as `shown`.
fn is_line(shown: &str, actual: &str) -> bool {
    let (shown, actual) = (normal(&shown.replace("...", "…")), normal(actual));
    let mut parts = shown.split('…');
    let Some(mut rest) = parts.next().and_then(|first| actual.strip_prefix(first)) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// True if and only if `actual` has the lines that the page shows, in their order, and no others.
fn are_in_order(shown: &[&str], actual: &[String]) -> bool {
    match (shown.split_first(), actual.split_first()) {
        (None, None) => true,
        (Some((line, rest)), _) if is_any(line) => (0..=actual.len()).any(|from| are_in_order(rest, &actual[from..])),
        (Some((line, rest)), Some((first, others))) => is_line(line, first) && are_in_order(rest, others),
        _ => false,
    }
}

/// True if and only if `actual` has the lines that the page shows, and no others. The order matters only if one program prints them.
pub fn are_shown(shown: &[&str], actual: &[String], are_several: bool) -> bool {
    if are_in_order(shown, actual) {
        return true;
    }
    let mut rest: Vec<_> = actual.iter().collect();
    let lines = shown.iter().filter(|line| !is_any(line));
    let are_there = lines.fold(true, |are_there, line| {
        let at = rest.iter().position(|actual| is_line(line, actual));
        at.map(|at| rest.remove(at)).is_some() && are_there
    });
    are_several && are_there && (rest.is_empty() || shown.iter().any(|line| is_any(line)))
}

#[test]
fn an_ellipsis_stands_for_any_text_or_lines() {
    let printed = ["a 1".to_owned(), "b 2".to_owned(), "c 3".to_owned()];
    for (shown, are_several, wanted) in [
        (&["a 1", "b 2", "c 3"][..], false, true),
        (&["a 1", "…", "c …"], false, true),
        (&["…"], false, true),
        (&["a 1", "...", "b 2", "…", "c 3"], false, true),
        (&["a 1", "c 3"], false, false),
        (&["a 1", "b 2", "c 3", "d 4"], false, false),
        (&["b 2", "a 1", "c 3"], false, false),
        (&["b 2", "a 1", "c 3"], true, true),
        (&["b 2", "a 1"], true, false),
        (&["c 3", "…", "a 1"], true, true),
        (&["… 1", "…2", "c"], false, false),
    ] {
        assert_eq!(are_shown(shown, &printed, are_several), wanted, "{shown:?}");
    }
}

#[test]
fn times_pids_and_ports_are_alike() {
    let log = |time, pid, port, seconds| {
        format!(
            "[2026-11-22T04:31:{time}Z INFO ] pid {pid}, from 127.0.0.1:{port} after {seconds}s and 1 frame: 5s, 1.5"
        )
    };
    assert!(is_line(&log("48.957", 1, 41234, "0.1"), &log("49.001", 4711, 51234, "12.0")));
    assert!(!is_line("every 5s, pid 1", "every 6s, pid 1"));
    assert!(!is_line("127.0.0.1:8080", "127.0.0.1:8081"));
    assert!(!is_line("rate 1.5", "rate 1.6"));
}
