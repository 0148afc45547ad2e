// Placeholder until the first file of KVClient lands.
