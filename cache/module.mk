libraries += cache
cache.sources := cache/sha256.cc cache/store.cc cache/entry.cc cache/entry_files.cc cache/decompress.cc \
  cache/bzimage.cc cache/kernel_elf.cc cache/kernel.cc cache/debian.cc cache/deb_archive.cc \
  cache/apt.cc cache/fetcher.cc cache/get.cc
cache.needs := json protocol
cache.packages := libcrypto libarchive zlib liblzma liblz4 libzstd libbpf
