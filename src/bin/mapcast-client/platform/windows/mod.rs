//! Windows.

mod files;
mod job;
mod preflight;
mod process;
mod shell;
mod signal;
mod stdio;

pub(crate) use files::{
    FileVersion, can_create_in, check_link, create_private_directory, create_private_file, directory_lock,
    is_mount_point, is_private, is_writable_by_others, keep_mode_and_owner, make_private, mode_differs,
    open_without_waiting, private_directories, set_mode, set_mode_of, too_many_links,
};
pub(crate) use job::{on_job_control, stop, suspend};
pub(crate) use preflight::{StartError, check_start};
pub(crate) use process::{Process, exit_code, is_init, kill_running, start_reaper};
pub(crate) use shell::{EDITOR, NOT_FOUND, insert_path, shell, shell_with_path};
pub(crate) use signal::{
    FORWARDED, SIGHUP, SIGINT, SIGNALS, SIGQUIT, SIGTERM, Signal, on_signals, pass_keyboard_signals_to_child,
};
pub(crate) use stdio::{WakeReader, standard_output, terminal_type, wait_output_closed, wake_pair};
