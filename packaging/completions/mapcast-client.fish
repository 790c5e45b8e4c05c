# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_mapcast_client_global_optspecs
    string join \n f/format= max-frame= watch write= write-format= template= mode= exec= exec-timeout= splay= run= signal= kill-timeout= settle= settle-max= check= check-timeout= cache= o/output= prefix= n/count= changes-only k/key= no-reconnect wait= stale-after= W/timeout= connect-timeout= tls tls-ca= tls-name= tls-cert= tls-key= v/verbose q/quiet h/help V/version
end

function __fish_mapcast_client_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_mapcast_client_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_mapcast_client_using_subcommand
    set -l cmd (__fish_mapcast_client_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s f -l format -d 'How the server writes its maps' -r -f -a "bincode\t''
json\t''
msgpack\t''
pickle\t''
text\t''"
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l max-frame -d 'The largest payload that is read' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l write -d 'Write the map into this file instead of printing it: replaced whole, only when it would be another one' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l write-format -d 'How the file is written [default: by the suffix of FILE]' -r -f -a "json\t'JSON over several lines, indented'
toml\t'TOML; null is left out'
env\t'One KEY=VALUE line for each key that is a variable\'s name, quoted for shells and systemd'"
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l template -d 'Write this text instead, with the entries in place of {{key}}; an entry that is missing leaves the file as it is' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l mode -d 'The mode of the file, in octal [default: as it is; a new one: 0666 less the umask]' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l exec -d 'Run this in a shell whenever the map changes, one at a time, with the map in the file MAPCAST_FILE and on standard input' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l exec-timeout -d 'End a command of --exec that takes longer; one that runs when --timeout is over is let to its end' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l splay -d 'Wait up to this long, left to chance, before each command of --exec and each restart or signal of --run' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l run -d 'Run this program with the map in its environment, and restart it on a change; all that follows belongs to it' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l signal -d 'Send the program of --run this signal on a change, with the map in MAPCAST_FILE [default: restart it]' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l kill-timeout -d 'Kill the program of --run if it does not end this long after it was asked to' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l settle -d 'Wait until the map has not changed for this long before anything is written, run, restarted or signalled' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l settle-max -d 'Wait at most this long after the first change [default: four times --settle]' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l check -d 'Run this in a shell before a new file takes the place of the old one, with the new file\'s path for {}; if it fails, nothing changes' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l check-timeout -d 'End a command of --check that takes longer, and refuse the file' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l cache -d 'Keep the last map in this file, and start from it if the server cannot be reached' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s o -l output -d 'How to print a map' -r -f -a "json\t'One JSON object a line'
pretty\t'JSON over several lines, indented'
text\t'One KEY=VALUE line an entry'
raw\t'The payload as it came, not decoded'
none\t'Nothing; the payload is still decoded'"
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l prefix -d 'Put this before each line, to tell several clients in one shell apart' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s n -l count -d 'Leave after N printed maps' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s k -l key -d 'Print only this entry; may be repeated; exit code 5 if it is missing' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l wait -d 'Try the first connection again, for ever or for this long, instead of leaving with exit code 3' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l stale-after -d 'Reconnect after this much silence [default: three intervals, as learned from the server\'s repeats, from 10s to 3m]' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s W -l timeout -d 'Leave with exit code 124 when this time is over' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l connect-timeout -d 'How long the look-up of the server\'s name may take, and then each of its addresses to answer' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l tls-ca -d 'Trust the CAs in this file instead: PEM' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l tls-name -d 'The name that the server\'s certificate must be for [default: the host that is connected to]' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l tls-cert -d 'Show this certificate to a server that asks for one: PEM' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l tls-key -d 'The certificate\'s private key: PEM, not encrypted' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l watch -d 'Show the map on the whole screen, with what changes lit; q leaves. Lines as of -o pretty where standard output is no terminal, or TERM is dumb or not set'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l changes-only -d 'Print a map only if it differs from the one printed before'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l no-reconnect -d 'Leave when the connection ends [default: reconnect after 1s doubling to 5s, full jitter]'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l tls -d 'Encrypt, and trust the system\'s root certificates'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s v -l verbose -d 'More log: -v debug, -vv trace; RUST_LOG wins'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s q -l quiet -d 'Less log: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s V -l version -d 'Print version'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -a "check" -d 'Takes one map and leaves: 0 if it is good, within --timeout [default: 2s]; prints one line on standard error'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -a "echo" -d 'Sends TEXT, or standard input, to an echo server, half-closes, prints what comes back'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -a "greet" -d 'Prints what a greeting server sends until it closes'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -s f -l format -d 'How the server writes its maps' -r -f -a "bincode\t''
json\t''
msgpack\t''
pickle\t''
text\t''"
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -l max-frame -d 'The largest payload that is read' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -s W -l timeout -d 'Leave with exit code 124 when this time is over, or with 3 if there is no connection by then' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -l connect-timeout -d 'How long the look-up of the server\'s name may take, and then each of its addresses to answer' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -l tls-ca -d 'Trust the CAs in this file instead: PEM' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -l tls-name -d 'The name that the server\'s certificate must be for [default: the host that is connected to]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -l tls-cert -d 'Show this certificate to a server that asks for one: PEM' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -l tls-key -d 'The certificate\'s private key: PEM, not encrypted' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -l tls -d 'Encrypt, and trust the system\'s root certificates'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -s v -l verbose -d 'More log: -v debug, -vv trace; RUST_LOG wins'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -s q -l quiet -d 'Less log: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -s h -l help -d 'Print help'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -s W -l timeout -d 'Leave with exit code 124 when this time is over' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -l connect-timeout -d 'How long the look-up of the server\'s name may take, and then each of its addresses to answer' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -l tls-ca -d 'Trust the CAs in this file instead: PEM' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -l tls-name -d 'The name that the server\'s certificate must be for [default: the host that is connected to]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -l tls-cert -d 'Show this certificate to a server that asks for one: PEM' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -l tls-key -d 'The certificate\'s private key: PEM, not encrypted' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -l tls -d 'Encrypt, and trust the system\'s root certificates'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -s v -l verbose -d 'More log: -v debug, -vv trace; RUST_LOG wins'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -s q -l quiet -d 'Less log: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -s h -l help -d 'Print help'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -s W -l timeout -d 'Leave with exit code 124 when this time is over' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -l connect-timeout -d 'How long the look-up of the server\'s name may take, and then each of its addresses to answer' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -l tls-ca -d 'Trust the CAs in this file instead: PEM' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -l tls-name -d 'The name that the server\'s certificate must be for [default: the host that is connected to]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -l tls-cert -d 'Show this certificate to a server that asks for one: PEM' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -l tls-key -d 'The certificate\'s private key: PEM, not encrypted' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -l tls -d 'Encrypt, and trust the system\'s root certificates'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -s v -l verbose -d 'More log: -v debug, -vv trace; RUST_LOG wins'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -s q -l quiet -d 'Less log: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -s h -l help -d 'Print help'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand help; and not __fish_seen_subcommand_from check echo greet help" -f -a "check" -d 'Takes one map and leaves: 0 if it is good, within --timeout [default: 2s]; prints one line on standard error'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand help; and not __fish_seen_subcommand_from check echo greet help" -f -a "echo" -d 'Sends TEXT, or standard input, to an echo server, half-closes, prints what comes back'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand help; and not __fish_seen_subcommand_from check echo greet help" -f -a "greet" -d 'Prints what a greeting server sends until it closes'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand help; and not __fish_seen_subcommand_from check echo greet help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
