#!/usr/bin/python3
"""Lists the tasks in an ELF vmcore with drgn, as JSON Lines with the members of `ktstr-monitor tasks`.

  drgn_tasks.py CORE --btf VMLINUX --init-task ADDRESS   types from the kernel's own BTF: what drgn is told is
                                                         where init_task is, and nothing of ours
  drgn_tasks.py CORE --debug VMLINUX                     types and symbols from DWARF
  ... --runs N     times the same walk N times more: "drgn: NAME <tab> microseconds", on standard error

drgn before 0.1 reads no BTF: a type finder below does (Documentation/bpf/btf.rst).
"""
import argparse
import json
import struct
import sys
import time

from drgn import Object, Program, TypeEnumerator, TypeKind, TypeMember
from drgn.helpers.linux.list import list_for_each_entry

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, FUNC_PROTO, FLOAT, ENUM64 = 1, 2, 3, 4, 5, 6, 7, 8, 13, 16, 19
EXTRA = {INT: (4, 0), ARRAY: (12, 0), STRUCT: (0, 12), UNION: (0, 12), ENUM: (0, 8), FUNC_PROTO: (0, 8),
         14: (4, 0), 15: (0, 12), 17: (4, 0), ENUM64: (0, 12)}  # bytes behind a type: fixed, for each of vlen
KINDS = {TypeKind.STRUCT: (STRUCT,), TypeKind.UNION: (UNION,), TypeKind.ENUM: (ENUM, ENUM64),
         TypeKind.TYPEDEF: (TYPEDEF,), TypeKind.INT: (INT,), TypeKind.BOOL: (INT,), TypeKind.FLOAT: (FLOAT,)}


def btf_section(path):
    with open(path, "rb") as file:
        elf = file.read()
    table, = struct.unpack_from("<Q", elf, 0x28)
    entry, count, names = struct.unpack_from("<HHH", elf, 0x3a)
    sections = [struct.unpack_from("<IIQQQQ", elf, table + i * entry) for i in range(count)]
    for name, _, _, _, offset, size in sections:
        at = sections[names][4] + name
        if elf[at:at + 5] == b".BTF\0":
            return elf[offset:offset + size]
    sys.exit(f"{path} has no .BTF")


class Btf:
    def __init__(self, program, data):
        self.program, self.data, self.cache, self.ids = program, data, {}, {}
        header, start, size, names = struct.unpack_from("<IIII", data, 4)
        self.names, at, end = header + names, header + start, header + start + size
        self.types = [(0, 0, 0, 0)]
        while at < end:
            name, info, size = struct.unpack_from("<III", data, at)
            kind = info >> 24 & 31
            self.types.append((name, info, size, at + 12))
            self.ids.setdefault((kind, self.text(name)), len(self.types) - 1)
            fixed, each = EXTRA.get(kind, (0, 0))
            at += 12 + fixed + each * (info & 0xffff)

    def text(self, offset):
        begin = self.names + offset
        return self.data[begin:self.data.index(b"\0", begin)].decode()

    def find(self, kind, name, filename):
        for own in KINDS.get(kind, ()):
            if (own, name) in self.ids:
                found = self.type(self.ids[own, name])
                return found if found.kind == kind else None
        return None

    def type(self, number):
        if number not in self.cache:
            self.cache[number] = self.make(number)
        return self.cache[number]

    def members(self, at, count, bit_fields):
        for name, type_id, offset in struct.iter_unpack("<III", self.data[at:at + 12 * count]):
            bits = offset >> 24 if bit_fields else 0
            place = offset & 0xffffff if bit_fields else offset

            def what(type_id=type_id, bits=bits):
                own = self.type(type_id)
                return Object(self.program, own, bit_field_size=bits) if bits else own
            yield TypeMember(what, self.text(name) or None, place)

    def make(self, number):
        name_offset, info, size, at = self.types[number]
        kind, count, flag, program = info >> 24 & 31, info & 0xffff, info >> 31, self.program
        name = self.text(name_offset) or None
        if number == 0 or kind == FUNC_PROTO:
            return program.void_type()
        if kind == INT:
            encoding = self.data[at + 3]
            return program.bool_type(name, size) if encoding & 4 else program.int_type(name, size, bool(encoding & 1))
        if kind == PTR:
            return program.pointer_type(self.type(size))
        if kind == ARRAY:
            element, _, length = struct.unpack_from("<III", self.data, at)
            return program.array_type(self.type(element), length)
        if kind in (STRUCT, UNION):
            make = program.struct_type if kind == STRUCT else program.union_type
            return make(name, size, list(self.members(at, count, flag)))
        if kind in (ENUM, ENUM64):
            pattern = ("<Ii" if flag else "<II") if kind == ENUM else "<IQ"
            step = 8 if kind == ENUM else 12
            values = struct.iter_unpack(pattern, self.data[at:at + step * count])
            compatible = program.int_type("enum", size, bool(flag))
            return program.enum_type(name, compatible, [TypeEnumerator(self.text(n), v) for n, v in values])
        if kind == FWD:
            return program.union_type(name) if flag else program.struct_type(name)
        if kind == TYPEDEF:
            return program.typedef_type(name, self.type(size))
        if kind == FLOAT:
            return program.float_type(name, size)
        return self.type(size)  # const, volatile, restrict, type tag


def tasks(init):
    for leader in list_for_each_entry("struct task_struct", init.tasks.address_of_(), "tasks"):
        for task in list_for_each_entry("struct task_struct", leader.signal.thread_head.address_of_(), "thread_node"):
            scx = task.scx
            task.sched_class.value_(), task.exit_state.value_(), task.member_("__state").value_(), scx.flags.value_()
            yield {"pid": task.pid.value_(), "tgid": task.tgid.value_(), "parent": task.real_parent.tgid.value_(),
                   "comm": task.comm.string_().decode(errors="replace"), "cpu": task.thread_info.cpu.value_(),
                   "prio": task.prio.value_(), "scxWeight": scx.weight.value_(), "scxSlice": scx.slice.value_(),
                   "scxVtime": scx.dsq_vtime.value_(), "address": hex(task.value_())}


def timed(name, work):
    begin = time.perf_counter()
    result = work()
    print(f"drgn: {name}\t{(time.perf_counter() - begin) * 1e6:.1f}", file=sys.stderr)
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("core")
    parser.add_argument("--btf")
    parser.add_argument("--init-task", type=lambda text: int(text, 16))
    parser.add_argument("--debug")
    parser.add_argument("--runs", type=int, default=0)
    arguments = parser.parse_args()
    program = Program()
    program.set_core_dump(arguments.core)
    if arguments.debug:
        timed("index", lambda: program.load_debug_info([arguments.debug]))
        init = program["init_task"]
    else:
        btf = timed("index", lambda: Btf(program, btf_section(arguments.btf)))
        program.add_type_finder(btf.find)
        init = Object(program, "struct task_struct", address=arguments.init_task)
    for task in tasks(init):
        print(json.dumps(task))
    for _ in range(arguments.runs):
        timed("task list", lambda: list(tasks(init)))


if __name__ == "__main__":
    main()
