/* Keeps a file open that other programs may only read: hold.exe FILE MILLISECONDS */
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

int main(int count, char **words) {
    if (count != 3 || CreateFileA(words[1], GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL) == INVALID_HANDLE_VALUE)
        return 1;
    fputs("open\n", stderr);
    fflush(stderr);
    Sleep(atoi(words[2]));
    return 0;
}
