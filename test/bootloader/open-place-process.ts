/** Writes to a partition that is mounted read-only: `DEVICE MOUNT-POINT`. Prints how it is mounted afterwards. */
import { spawnSync } from "node:child_process";
import { ascii, toBytes } from "../../src/formats/bytestring.ts";
import { createFile } from "../../src/linux/directories.ts";
import { openPartition } from "../../userspace/bootloader/open-place.ts";
import { linux } from "../../userspace/linux.ts";

const [path, mountPoint] = process.argv.slice(2) as [string, string];
const device = { path, fileSystem: "ext4", mountPoints: [mountPoint] };
linux.close(openPartition(linux, device, true).directory); // to look is always possible
const place = openPartition(linux, device, false);
createFile(linux, place.directory, "written", [toBytes(ascii("x"))], 0o644);
linux.close(place.directory);
const args = ["--noheadings", "--output", "VFS-OPTIONS", "--mountpoint", mountPoint];
process.stdout.write(spawnSync("findmnt", args, { encoding: "utf8" }).stdout);
