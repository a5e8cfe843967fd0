#!/bin/sh
# Compiles what lies in a folder, the same bytes each time, and gives every file the moment $SOURCE_DATE_EPOCH; the folder
# will be laid over the root. Bytecode that is never checked against its source needs no writable folder.
set -eu
# Twilio's REST client is half of all the bytes here and nothing imports it: it is there as source, not compiled.
python3 -m compileall -q -f -x '/twilio/rest/' -s "$1" -p / --invalidation-mode unchecked-hash "$1"
find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
