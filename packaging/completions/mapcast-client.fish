# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_mapcast_client_global_optspecs
    string join \n f/format= o/output= prefix= n/count= changes-only k/key= no-reconnect stale-after= max-frame= W/timeout= connect-timeout= v/verbose q/quiet h/help V/version
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
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s o -l output -d 'How to print a map' -r -f -a "json\t'One JSON object a line'
pretty\t'JSON over several lines, indented'
text\t'One KEY=VALUE line an entry'
raw\t'The payload as it came, not decoded'
none\t'Nothing; the payload is still decoded'"
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l prefix -d 'Put this before each line, to tell several clients in one shell apart' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s n -l count -d 'Leave after N printed maps' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s k -l key -d 'Print only this entry; may be repeated; exit code 5 if it is missing' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l stale-after -d 'Reconnect after this much silence [default: three times the longest gap seen, at least 10s]' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l max-frame -d 'The largest payload that is read' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s W -l timeout -d 'Leave with exit code 124 when this time is over' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l connect-timeout -d 'How long each address of the server may take to answer' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l changes-only -d 'Print a map only if it differs from the one printed before'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l no-reconnect -d 'Leave when the connection ends [default: reconnect after 1s doubling to 30s, full jitter]'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s v -l verbose -d 'More log: -v debug, -vv trace; RUST_LOG wins'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s q -l quiet -d 'Less log: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s V -l version -d 'Print version'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -a "echo" -d 'Sends TEXT, or standard input, to an echo server, half-closes, prints what comes back'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -a "greet" -d 'Prints what a greeting server sends until it closes'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -s W -l timeout -d 'Leave with exit code 124 when this time is over' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -l connect-timeout -d 'How long each address of the server may take to answer' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -s v -l verbose -d 'More log: -v debug, -vv trace; RUST_LOG wins'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -s q -l quiet -d 'Less log: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -s h -l help -d 'Print help'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -s W -l timeout -d 'Leave with exit code 124 when this time is over' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -l connect-timeout -d 'How long each address of the server may take to answer' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -s v -l verbose -d 'More log: -v debug, -vv trace; RUST_LOG wins'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -s q -l quiet -d 'Less log: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -s h -l help -d 'Print help'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand help; and not __fish_seen_subcommand_from echo greet help" -f -a "echo" -d 'Sends TEXT, or standard input, to an echo server, half-closes, prints what comes back'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand help; and not __fish_seen_subcommand_from echo greet help" -f -a "greet" -d 'Prints what a greeting server sends until it closes'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand help; and not __fish_seen_subcommand_from echo greet help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
