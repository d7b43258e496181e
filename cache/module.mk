libraries += cache
cache.sources := cache/sha256.cc cache/store.cc cache/entry.cc cache/entry_files.cc cache/decompress.cc \
  cache/bzimage.cc cache/kernel_elf.cc cache/kernel.cc cache/debian.cc cache/deb_archive.cc \
  cache/apt.cc cache/fetcher.cc cache/get.cc
cache.needs := json protocol
cache.packages := libcrypto libarchive zlib liblzma liblz4 libzstd libbpf

# Around the store: the RPC service, the sandbox, the program.
libraries += cacheservice
cacheservice.sources := cache/service.cc cache/confine.cc cache/display.cc
cacheservice.needs := cache sandbox rpc

programs += ktstr-cache
ktstr-cache.sources := cache/main.cc
ktstr-cache.needs := cacheservice cache json log
ktstr-cache.packages := CLI11
