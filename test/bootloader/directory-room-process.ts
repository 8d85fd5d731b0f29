/** Prints how large a directory of a mounted file system is, before and after room is made, and after many names. */
import { mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_RDONLY } from "../../src/linux/constants.ts";
import { makeRoom } from "../../userspace/bootloader/directory-room.ts";
import { linux } from "../../userspace/linux.ts";

const path = process.argv[2]!;
const fd = linux.openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
const sizes = [statSync(path).size];
makeRoom(linux, fd);
sizes.push(statSync(path).size);
const left = readdirSync(path).length;
for (let i = 0; i < 16; i++) mkdirSync(join(path, `bootc_composefs-${`${i}`.padStart(128, "0")}`));
sizes.push(statSync(path).size);
makeRoom(linux, fd);
sizes.push(statSync(path).size);
console.log(JSON.stringify({ sizes, left }));
