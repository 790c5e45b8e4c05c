# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_mapcast_client_global_optspecs
    string join \n o/output= F/line-format= timestamps once color= prefix= n/count= changes-only k/key= watch f/format= max-frame= no-reconnect wait= stale-after= write= write-format= template= mode= exec= exec-timeout= splay= run= signal= kill-timeout= settle= settle-max= check= check-timeout= cache= W/timeout= connect-timeout= tls tls-ca= tls-name= tls-cert= tls-key= v/verbose q/quiet h/help V/version
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

complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s o -l output -d 'How to print a map' -r -f -a "json\t'One JSON object per line'
pretty\t'JSON over several lines, indented'
text\t'One KEY=VALUE line per entry'
value\t'One line per value: text without quotes, JSON for all else'
diff\t'One line per change of an entry: "~ key 1 -> 2", "+ key 1" or "- key"'
raw\t'The payload as received, not decoded'
none\t'Nothing; the payload is still decoded'"
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s F -l line-format -d 'Print a line in this form for each entry, with --output diff for each change: %k key, %v value, %j value as JSON, %n number of the map, %I time, %U Unix time, %c mark and %o old value of a change' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l color -d 'When lines have colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l prefix -d 'Prefix each line with this text, to distinguish several clients in one terminal' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s n -l count -d 'Exit after N printed maps' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s k -l key -d 'Print only this entry; may be repeated; exit with code 5 if it is missing' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s f -l format -d 'Format of the server\'s maps; auto takes it from the first map of each connection' -r -f -a "auto\t''
bincode\t''
json\t''
msgpack\t''
pickle\t''
text\t''"
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l max-frame -d 'Largest payload to accept' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l wait -d 'Retry the first connection for this long, or for ever without a value, instead of exiting with code 3' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l stale-after -d 'Reconnect after this much silence [default: three intervals, as learned from the server\'s repeats, from 10s to 3m]' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l write -d 'Write the map to this file instead of printing it; the file is replaced atomically, and only if its content changes' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l write-format -d 'Format of the file [default: by the suffix of FILE]' -r -f -a "json\t'JSON over several lines, indented'
toml\t'TOML; null entries are omitted'
env\t'One KEY=VALUE line for each key that is a valid variable name, quoted for shells and systemd'"
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l template -d 'Write this template instead, with {{key}} replaced by the entry; if an entry is missing, the file stays unchanged' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l mode -d 'Mode of the file, in octal; no effect on Windows [default: unchanged; for a new file 0666 minus the umask]' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l exec -d 'Run this shell command on each change, one at a time, with the map in the file MAPCAST_FILE and on standard input' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l exec-timeout -d 'Terminate a command of --exec that takes longer than this; if --timeout expires, a running command may finish' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l splay -d 'Wait for a random time up to this before each command of --exec and each restart or signal of --run' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l run -d 'Run this program with the map in its environment and restart it on each change; all following words are its arguments' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l signal -d 'Send the program of --run this signal on each change, with the map in MAPCAST_FILE; not on Windows [default: restart it]' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l kill-timeout -d 'Kill the program of --run if it is still running this long after it was asked to exit' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l settle -d 'Wait until the map has not changed for this long before writing, running, restarting or signalling anything' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l settle-max -d 'Wait at most this long after the first change [default: four times --settle]' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l check -d 'Run this shell command before a new file replaces the old one, with {} replaced by the new file\'s path; if it fails, nothing changes' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l check-timeout -d 'Terminate a command of --check that takes longer than this, and refuse the file' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l cache -d 'Store the last map in this file, and start from it if the server cannot be reached' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s W -l timeout -d 'Exit with code 124 after this time [default: no limit]' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l connect-timeout -d 'Time limit for resolving the server\'s name, and then for each of its addresses to answer' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l tls-ca -d 'Trust the CA certificates in this PEM file instead of the system\'s' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l tls-name -d 'The name in the server\'s certificate [default: the host of the address]' -r
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l tls-cert -d 'Present the client certificate in this PEM file to a server that requests one' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l tls-key -d 'Private key of the certificate: PEM, not encrypted' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l timestamps -d 'Begin each line with the time, in UTC'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l once -d 'Exit after one printed map, as --count 1 does'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l changes-only -d 'Print a map only if it differs from the previously printed one'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l watch -d 'Show the map on the whole screen and highlight changes; press q to quit. If standard output is not a terminal, or TERM is dumb (or unset, except on Windows), print as with -o pretty'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l no-reconnect -d 'Exit when the connection ends [default: reconnect after a random time up to 1s, doubling to 5s]'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -l tls -d 'Encrypt, and trust the system\'s root certificates'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s v -l verbose -d 'Log more: -v debug, -vv trace; RUST_LOG takes precedence'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s q -l quiet -d 'Log less: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s h -l help -d 'Print help: -h the most used options, --help all'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -s V -l version -d 'Print the version'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -a "check" -d 'Receive one map, and exit with 0 if it is good'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -a "get" -d 'Print values of the current map'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -a "set" -d 'Set entries over HTTP, all in one change'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -a "del" -d 'Remove entries over HTTP, all in one change'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -a "edit" -d 'Edit the map, or one entry, in an editor, over HTTP'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -a "status" -d 'Print the server\'s status'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -a "clients" -d 'List the server\'s newest clients'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -a "completions" -d 'Print completions for a shell'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -a "echo" -d 'Send TEXT to an echo server, and print what comes back'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -a "greet" -d 'Print what a greeting server sends until it closes'
complete -c mapcast-client -n "__fish_mapcast_client_needs_command" -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -s f -l format -d 'Format of the server\'s maps; auto takes it from the first map of each connection' -r -f -a "auto\t''
bincode\t''
json\t''
msgpack\t''
pickle\t''
text\t''"
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -l max-frame -d 'Largest payload to accept' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -s W -l timeout -d 'Exit with code 124 after this time, or with 3 if not connected by then' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -l connect-timeout -d 'Time limit for resolving the server\'s name, and then for each of its addresses to answer' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -l tls-ca -d 'Trust the CA certificates in this PEM file instead of the system\'s' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -l tls-name -d 'The name in the server\'s certificate [default: the host of the address]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -l tls-cert -d 'Present the client certificate in this PEM file to a server that requests one' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -l tls-key -d 'Private key of the certificate: PEM, not encrypted' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -l tls -d 'Encrypt, and trust the system\'s root certificates'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -s v -l verbose -d 'Log more: -v debug, -vv trace; RUST_LOG takes precedence'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -s q -l quiet -d 'Log less: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand check" -s h -l help -d 'Print help: -h the most used options, --help all'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand get" -s s -l server -d 'The server; the default port is 8080' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand get" -s o -l output -d 'How to print the values [default: value, or text without KEY]' -r -f -a "value\t'One line per value: text without quotes, JSON for all else'
text\t'One KEY=VALUE line per value'
json\t'One JSON object'"
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand get" -s f -l format -d 'Format of the server\'s maps; auto takes it from the first map of each connection' -r -f -a "auto\t''
bincode\t''
json\t''
msgpack\t''
pickle\t''
text\t''"
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand get" -l max-frame -d 'Largest payload to accept' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand get" -s W -l timeout -d 'Exit with code 124 after this time' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand get" -l connect-timeout -d 'Time limit for resolving the server\'s name, and then for each of its addresses to answer' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand get" -l tls-ca -d 'Trust the CA certificates in this PEM file instead of the system\'s' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand get" -l tls-name -d 'The name in the server\'s certificate [default: the host of the address]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand get" -l tls-cert -d 'Present the client certificate in this PEM file to a server that requests one' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand get" -l tls-key -d 'Private key of the certificate: PEM, not encrypted' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand get" -l tls -d 'Encrypt, and trust the system\'s root certificates'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand get" -s v -l verbose -d 'Log more: -v debug, -vv trace; RUST_LOG takes precedence'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand get" -s q -l quiet -d 'Log less: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand get" -s h -l help -d 'Print help: -h the most used options, --help all'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand set" -l http -d 'The server\'s --http: HOST:PORT (default port 8081) or http://HOST:PORT (default port 80); without TLS' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand set" -l token-file -d 'File with the token of the server\'s --http-token-file' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand set" -s W -l timeout -d 'Exit with code 124 after this time [default: no limit]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand set" -l connect-timeout -d 'Time limit for resolving the server\'s name, and then for each of its addresses to answer' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand set" -l tls-ca -d 'Trust the CA certificates in this PEM file instead of the system\'s' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand set" -l tls-name -d 'The name in the server\'s certificate [default: the host of the address]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand set" -l tls-cert -d 'Present the client certificate in this PEM file to a server that requests one' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand set" -l tls-key -d 'Private key of the certificate: PEM, not encrypted' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand set" -l tls -d 'Encrypt, and trust the system\'s root certificates'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand set" -s v -l verbose -d 'Log more: -v debug, -vv trace; RUST_LOG takes precedence'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand set" -s q -l quiet -d 'Log less: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand set" -s h -l help -d 'Print help: -h the most used options, --help all'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand del" -l http -d 'The server\'s --http: HOST:PORT (default port 8081) or http://HOST:PORT (default port 80); without TLS' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand del" -l token-file -d 'File with the token of the server\'s --http-token-file' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand del" -s W -l timeout -d 'Exit with code 124 after this time [default: no limit]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand del" -l connect-timeout -d 'Time limit for resolving the server\'s name, and then for each of its addresses to answer' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand del" -l tls-ca -d 'Trust the CA certificates in this PEM file instead of the system\'s' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand del" -l tls-name -d 'The name in the server\'s certificate [default: the host of the address]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand del" -l tls-cert -d 'Present the client certificate in this PEM file to a server that requests one' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand del" -l tls-key -d 'Private key of the certificate: PEM, not encrypted' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand del" -l tls -d 'Encrypt, and trust the system\'s root certificates'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand del" -s v -l verbose -d 'Log more: -v debug, -vv trace; RUST_LOG takes precedence'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand del" -s q -l quiet -d 'Log less: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand del" -s h -l help -d 'Print help: -h the most used options, --help all'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand edit" -l http -d 'The server\'s --http: HOST:PORT (default port 8081) or http://HOST:PORT (default port 80); without TLS' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand edit" -l token-file -d 'File with the token of the server\'s --http-token-file' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand edit" -s W -l timeout -d 'Exit with code 124 after this time [default: no limit]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand edit" -l connect-timeout -d 'Time limit for resolving the server\'s name, and then for each of its addresses to answer' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand edit" -l tls-ca -d 'Trust the CA certificates in this PEM file instead of the system\'s' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand edit" -l tls-name -d 'The name in the server\'s certificate [default: the host of the address]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand edit" -l tls-cert -d 'Present the client certificate in this PEM file to a server that requests one' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand edit" -l tls-key -d 'Private key of the certificate: PEM, not encrypted' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand edit" -l tls -d 'Encrypt, and trust the system\'s root certificates'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand edit" -s v -l verbose -d 'Log more: -v debug, -vv trace; RUST_LOG takes precedence'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand edit" -s q -l quiet -d 'Log less: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand edit" -s h -l help -d 'Print help: -h the most used options, --help all'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand status" -l http -d 'The server\'s --http: HOST:PORT (default port 8081) or http://HOST:PORT (default port 80); without TLS' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand status" -l token-file -d 'File with the token of the server\'s --http-token-file' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand status" -s o -l output -d 'How to print it' -r -f -a "table\t'Aligned columns'
json\t'The server\'s JSON'"
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand status" -s W -l timeout -d 'Exit with code 124 after this time [default: no limit]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand status" -l connect-timeout -d 'Time limit for resolving the server\'s name, and then for each of its addresses to answer' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand status" -l tls-ca -d 'Trust the CA certificates in this PEM file instead of the system\'s' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand status" -l tls-name -d 'The name in the server\'s certificate [default: the host of the address]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand status" -l tls-cert -d 'Present the client certificate in this PEM file to a server that requests one' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand status" -l tls-key -d 'Private key of the certificate: PEM, not encrypted' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand status" -l tls -d 'Encrypt, and trust the system\'s root certificates'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand status" -s v -l verbose -d 'Log more: -v debug, -vv trace; RUST_LOG takes precedence'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand status" -s q -l quiet -d 'Log less: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand status" -s h -l help -d 'Print help: -h the most used options, --help all'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand clients" -l http -d 'The server\'s --http: HOST:PORT (default port 8081) or http://HOST:PORT (default port 80); without TLS' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand clients" -l token-file -d 'File with the token of the server\'s --http-token-file' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand clients" -s o -l output -d 'How to print them' -r -f -a "table\t'Aligned columns'
json\t'The server\'s JSON'"
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand clients" -l limit -d 'List at most this many, 1000 at most' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand clients" -s W -l timeout -d 'Exit with code 124 after this time [default: no limit]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand clients" -l connect-timeout -d 'Time limit for resolving the server\'s name, and then for each of its addresses to answer' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand clients" -l tls-ca -d 'Trust the CA certificates in this PEM file instead of the system\'s' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand clients" -l tls-name -d 'The name in the server\'s certificate [default: the host of the address]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand clients" -l tls-cert -d 'Present the client certificate in this PEM file to a server that requests one' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand clients" -l tls-key -d 'Private key of the certificate: PEM, not encrypted' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand clients" -l tls -d 'Encrypt, and trust the system\'s root certificates'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand clients" -s v -l verbose -d 'Log more: -v debug, -vv trace; RUST_LOG takes precedence'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand clients" -s q -l quiet -d 'Log less: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand clients" -s h -l help -d 'Print help: -h the most used options, --help all'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand completions" -s W -l timeout -d 'Exit with code 124 after this time [default: no limit]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand completions" -l connect-timeout -d 'Time limit for resolving the server\'s name, and then for each of its addresses to answer' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand completions" -l tls-ca -d 'Trust the CA certificates in this PEM file instead of the system\'s' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand completions" -l tls-name -d 'The name in the server\'s certificate [default: the host of the address]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand completions" -l tls-cert -d 'Present the client certificate in this PEM file to a server that requests one' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand completions" -l tls-key -d 'Private key of the certificate: PEM, not encrypted' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand completions" -l tls -d 'Encrypt, and trust the system\'s root certificates'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand completions" -s v -l verbose -d 'Log more: -v debug, -vv trace; RUST_LOG takes precedence'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand completions" -s q -l quiet -d 'Log less: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand completions" -s h -l help -d 'Print help: -h the most used options, --help all'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -s W -l timeout -d 'Exit with code 124 after this time [default: no limit]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -l connect-timeout -d 'Time limit for resolving the server\'s name, and then for each of its addresses to answer' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -l tls-ca -d 'Trust the CA certificates in this PEM file instead of the system\'s' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -l tls-name -d 'The name in the server\'s certificate [default: the host of the address]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -l tls-cert -d 'Present the client certificate in this PEM file to a server that requests one' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -l tls-key -d 'Private key of the certificate: PEM, not encrypted' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -l tls -d 'Encrypt, and trust the system\'s root certificates'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -s v -l verbose -d 'Log more: -v debug, -vv trace; RUST_LOG takes precedence'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -s q -l quiet -d 'Log less: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand echo" -s h -l help -d 'Print help: -h the most used options, --help all'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -s W -l timeout -d 'Exit with code 124 after this time [default: no limit]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -l connect-timeout -d 'Time limit for resolving the server\'s name, and then for each of its addresses to answer' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -l tls-ca -d 'Trust the CA certificates in this PEM file instead of the system\'s' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -l tls-name -d 'The name in the server\'s certificate [default: the host of the address]' -r
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -l tls-cert -d 'Present the client certificate in this PEM file to a server that requests one' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -l tls-key -d 'Private key of the certificate: PEM, not encrypted' -r -F
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -l tls -d 'Encrypt, and trust the system\'s root certificates'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -s v -l verbose -d 'Log more: -v debug, -vv trace; RUST_LOG takes precedence'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -s q -l quiet -d 'Log less: -q warnings, -qq errors, -qqq nothing'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand greet" -s h -l help -d 'Print help: -h the most used options, --help all'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand help; and not __fish_seen_subcommand_from check get set del edit status clients completions echo greet help" -f -a "check" -d 'Receive one map, and exit with 0 if it is good'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand help; and not __fish_seen_subcommand_from check get set del edit status clients completions echo greet help" -f -a "get" -d 'Print values of the current map'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand help; and not __fish_seen_subcommand_from check get set del edit status clients completions echo greet help" -f -a "set" -d 'Set entries over HTTP, all in one change'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand help; and not __fish_seen_subcommand_from check get set del edit status clients completions echo greet help" -f -a "del" -d 'Remove entries over HTTP, all in one change'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand help; and not __fish_seen_subcommand_from check get set del edit status clients completions echo greet help" -f -a "edit" -d 'Edit the map, or one entry, in an editor, over HTTP'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand help; and not __fish_seen_subcommand_from check get set del edit status clients completions echo greet help" -f -a "status" -d 'Print the server\'s status'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand help; and not __fish_seen_subcommand_from check get set del edit status clients completions echo greet help" -f -a "clients" -d 'List the server\'s newest clients'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand help; and not __fish_seen_subcommand_from check get set del edit status clients completions echo greet help" -f -a "completions" -d 'Print completions for a shell'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand help; and not __fish_seen_subcommand_from check get set del edit status clients completions echo greet help" -f -a "echo" -d 'Send TEXT to an echo server, and print what comes back'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand help; and not __fish_seen_subcommand_from check get set del edit status clients completions echo greet help" -f -a "greet" -d 'Print what a greeting server sends until it closes'
complete -c mapcast-client -n "__fish_mapcast_client_using_subcommand help; and not __fish_seen_subcommand_from check get set del edit status clients completions echo greet help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
