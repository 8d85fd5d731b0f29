/** Reads what is configured on the machine. */
import { fromBytes, toText } from "../../src/formats/bytestring.ts";
import {
  type CfsbootConf,
  DEFAULT_CONF,
  parseCfsbootConf,
} from "../../src/formats/cfsboot-conf.ts";
import { ifThere } from "../../src/linux/directories.ts";
import { readFile } from "../../src/linux/files.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";

const PATH = "cfsboot/cfsboot.toml";
const MAX_SIZE = 1 << 20;

/** The machine's `/etc`. */
export interface MachineEtc {
  readonly dirfd: Fd;
  readonly path: string;
  /** For messages. */
  readonly name: string;
}

/** What `cfsboot/cfsboot.toml` in this `/etc` says; without a file, or without an `/etc`, what counts then. */
export function readConf(linux: Linux, etc: MachineEtc | undefined): CfsbootConf {
  if (etc === undefined) return DEFAULT_CONF;
  const bytes = ifThere(() => readFile(linux, etc.dirfd, `${etc.path}/${PATH}`, MAX_SIZE));
  if (bytes === undefined) return DEFAULT_CONF;
  const file = `${etc.name}/${PATH}`;
  const text = toText(fromBytes(bytes));
  if (text === undefined) throw new Error(`${file}: expected UTF-8`);
  return parseCfsbootConf(text, file);
}
