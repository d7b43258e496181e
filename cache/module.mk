libraries += cache
cache.sources := cache/sha256.cc
cache.needs := protocol
cache.packages := libcrypto libarchive zlib liblzma liblz4 libzstd libbpf
