# Debian's package index (apt-cache dumpavail) → JSON Lines of {"key": "deb:<package>", "value": "<the stanza>"}.
# A package's further versions and architectures are deb:<package>/<version>/<architecture>. Runs in mawk and gawk, with
# LC_ALL=C: bytes above 127 are UTF-8 and pass through.
#   -v every=N -v samples=DIR   writes each N-th record to DIR/I.key and DIR/I.value as well, to compare what is read back

BEGIN {
  RS = ""
  for (code = 1; code < 32; code++) control[sprintf("%c", code)] = sprintf("\\u%04x", code)
}

function field(name,    found) {
  if (!match("\n" $0, "\n" name ": [^\n]*")) return ""
  found = substr($0, RSTART, RLENGTH - 1) # the newline put in front shifts everything by one
  return substr(found, length(name) + 3)
}

function unique_key(    key, number) {
  key = "deb:" field("Package")
  if (key in seen) key = key "/" field("Version") "/" field("Architecture")
  for (number = 2; key in seen; number++) key = "deb:" field("Package") "/" field("Version") "/" number
  seen[key]
  return substr(key, 1, 256)
}

function escaped(text,    character) {
  gsub(/\\/, "\\\\\\\\", text)
  gsub(/"/, "\\\"", text)
  gsub(/\n/, "\\n", text)
  gsub(/\t/, "\\t", text)
  if (text ~ /[\001-\037]/) for (character in control) gsub("[" character "]", "\\" control[character], text)
  return text
}

function sample(key,    name) {
  name = samples "/" ++sampled
  printf "%s", key > (name ".key")
  printf "%s", $0 > (name ".value")
  close(name ".key")
  close(name ".value")
}

field("Package") != "" {
  key = unique_key()
  printf "{\"key\": \"%s\", \"value\": \"%s\"}\n", escaped(key), escaped($0)
  if (every && NR % every == 0) sample(key)
}
