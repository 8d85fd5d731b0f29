/** The machine's block devices, as util-linux tells them. */
import { spawnSync } from "node:child_process";
import { type BlockDevice, LSBLK_COLUMNS, parseLsblk } from "../../src/formats/lsblk.ts";

const MAX_OUTPUT = 16 << 20;

/** All block devices. Partition types that udev does not tell, as in containers, are read from the disks. */
export function listBlockDevices(): BlockDevice[] {
  const output = run("lsblk", ["--json", "--bytes", "--output", LSBLK_COLUMNS]);
  return parseLsblk(output).map(withPartitionTypes);
}

function withPartitionTypes(disk: BlockDevice): BlockDevice {
  const unknown = disk.children.some((child) => child.type === "part" && !child.partitionType);
  if (!unknown) return disk;
  const children = disk.children.map((child) => {
    const partitionType = child.type === "part" ? probeType(child.path) : undefined;
    return partitionType === undefined ? child : { ...child, partitionType };
  });
  return { ...disk, children };
}

/** What `blkid` reads from the partition table; `undefined` if it cannot. */
function probeType(path: string): string | undefined {
  const found = spawnSync("blkid", ["-p", "-s", "PART_ENTRY_TYPE", "-o", "value", path], {
    encoding: "utf8",
  });
  return found.status === 0 ? found.stdout.trim().toLowerCase() || undefined : undefined;
}

function run(program: string, args: readonly string[]): Buffer {
  const { status, stdout, stderr, error } = spawnSync(program, args, { maxBuffer: MAX_OUTPUT });
  if (error !== undefined) throw new Error(`run ${program} (util-linux)`, { cause: error });
  if (status !== 0)
    throw new Error(`${program}: ${stderr.toString().trim() || `status ${status}`}`);
  return stdout;
}
