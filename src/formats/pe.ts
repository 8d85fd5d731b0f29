/**
 * Headers of PE images (PE32 and PE32+), which programs of UEFI firmware are: what is where in them. Content is not read.
 *
 * An image that the firmware would not load is an error. Specification: "PE Format" of Microsoft; for what it leaves open,
 * the loader of EDK II (BasePeCoffLib).
 */
import { type ByteRange, type ByteSource, readRange } from "./byte-source.ts";
import { type ByteString, display, fromBytes } from "./bytestring.ts";
import { type Field, u16, u32, u64 } from "./erofs/fields.ts";

/** `IMAGE_DOS_HEADER`: it only leads to the other ones. */
const DOS = { magic: u16(0), lfanew: u32(0x3c) };
const DOS_SIZE = 64;
const DOS_MAGIC = 0x5a4d;

/** The signature, and `IMAGE_FILE_HEADER` behind it. */
const COFF = {
  signature: u32(0),
  machine: u16(4),
  numberOfSections: u16(6),
  timeDateStamp: u32(8),
  sizeOfOptionalHeader: u16(20),
  characteristics: u16(22),
};
const COFF_SIZE = 24;
const PE_SIGNATURE = 0x4550;

/** `IMAGE_OPTIONAL_HEADER32` and `…64` have these at the same offsets. */
const OPTIONAL = {
  magic: u16(0),
  addressOfEntryPoint: u32(16),
  sectionAlignment: u32(32),
  fileAlignment: u32(36),
  majorImageVersion: u16(44),
  minorImageVersion: u16(46),
  sizeOfImage: u32(56),
  sizeOfHeaders: u32(60),
  checkSum: u32(64),
  subsystem: u16(68),
  dllCharacteristics: u16(70),
};
/** What is different in the two; `size` is without the data directories, whose number is its last field. */
const OPTIONAL_HEADERS: Readonly<
  Record<number, { format: PeFormat; imageBase: Field<number>; size: number }>
> = {
  267: { format: "PE32", imageBase: u32(28), size: 96 },
  523: { format: "PE32+", imageBase: u64(24), size: 112 },
};

/** `IMAGE_DATA_DIRECTORY` */
const DIRECTORY = { virtualAddress: u32(0), size: u32(4) };
const DIRECTORY_SIZE = 8;
const MAX_DIRECTORIES = 16;
/** The one of the attribute certificate table, whose address is an offset in the file. */
const DIRECTORY_SECURITY = 4;

/** `IMAGE_SECTION_HEADER` */
const SECTION = {
  virtualSize: u32(8),
  virtualAddress: u32(12),
  sizeOfRawData: u32(16),
  pointerToRawData: u32(20),
  characteristics: u32(36),
};
const SECTION_SIZE = 40;
const NAME_SIZE = 8;

/** `IMAGE_SUBSYSTEM_EFI_APPLICATION` */
export const EFI_APPLICATION = 10;

/** Architectures, as OCI calls them, by the `Machine` of images for them. */
export const PE_MACHINES: ReadonlyMap<number, string> = new Map([
  [0x014c, "386"],
  [0x8664, "amd64"],
  [0x01c2, "arm"],
  [0xaa64, "arm64"],
  [0x6264, "loong64"],
  [0x5064, "riscv64"],
]);

export type PeFormat = "PE32" | "PE32+";

export interface PeSection {
  /** Of its header, in bytes from the start of the file. */
  readonly offset: number;
  /** Up to eight bytes. */
  readonly name: ByteString;
  /** Where it is loaded, in bytes from the start of the loaded image. */
  readonly virtualAddress: number;
  /** How much it is when it is loaded: more than there is in the file is zeros. */
  readonly virtualSize: number;
  /** Its place in the file, with what it is padded with. */
  readonly raw: ByteRange;
  /** What of that is its content: as much as is loaded. */
  readonly content: ByteRange;
  readonly characteristics: number;
}

/** A data directory: `address` is where it is loaded, but for certificates. */
export interface PeDirectory {
  readonly address: number;
  readonly size: number;
}

export interface PeImage {
  readonly source: ByteSource;
  readonly format: PeFormat;
  readonly machine: number;
  /** What the machine is called in OCI; `undefined` if it is none of those that UEFI is for. */
  readonly architecture: string | undefined;
  readonly timeDateStamp: number;
  readonly characteristics: number;
  readonly addressOfEntryPoint: number;
  /** Exact up to 2^53. */
  readonly imageBase: number;
  readonly sectionAlignment: number;
  readonly fileAlignment: number;
  readonly majorImageVersion: number;
  readonly minorImageVersion: number;
  /** When it is loaded, in bytes. */
  readonly sizeOfImage: number;
  /** Of all headers, with what they are padded with, in bytes. */
  readonly sizeOfHeaders: number;
  readonly checkSum: number;
  readonly subsystem: number;
  readonly dllCharacteristics: number;
  readonly directories: readonly PeDirectory[];
  /** In the order of their headers. */
  readonly sections: readonly PeSection[];
  /** The attribute certificate table, which is where signatures are. */
  readonly certificates: ByteRange | undefined;
  /** Where the fields are that a signature is not made over. Old images have no directory of certificates. */
  readonly fields: {
    readonly checkSum: ByteRange;
    readonly certificateDirectory: ByteRange | undefined;
  };
}

/**
 * Reads the headers. Throws, naming an offset, where they are damaged, or parts of the image are not in the file or not in
 * the place in memory that the image asks for.
 */
export function readPe(source: ByteSource): PeImage {
  const dos = view(source, 0, DOS_SIZE, "the DOS header");
  if (DOS.magic.get(dos, 0) !== DOS_MAGIC) throw peError(0, 'expected "MZ"');
  const start = DOS.lfanew.get(dos, 0);
  if (start < DOS_SIZE) {
    throw peError(DOS.lfanew.offset, `the PE header at ${start}; expected at least ${DOS_SIZE}`);
  }
  const coff = view(source, start, COFF_SIZE, "the PE header");
  if (COFF.signature.get(coff, 0) !== PE_SIGNATURE) {
    throw peError(start, 'expected "PE" and two zeros');
  }
  const count = COFF.numberOfSections.get(coff, 0);
  if (count === 0) throw peError(start + COFF.numberOfSections.offset, "there are no sections");
  const optionalStart = start + COFF_SIZE;
  const optionalSize = COFF.sizeOfOptionalHeader.get(coff, 0);
  const optional = readOptionalHeader(source, optionalStart, optionalSize);
  const { sizeOfHeaders, sizeOfImage } = optional;
  const tableStart = optionalStart + optionalSize;
  const tableEnd = tableStart + count * SECTION_SIZE;
  if (sizeOfHeaders < tableEnd || sizeOfHeaders > source.size) {
    throw peError(
      optionalStart + OPTIONAL.sizeOfHeaders.offset,
      `headers of ${sizeOfHeaders} bytes; expected ${tableEnd}, where the section table ends, to ${source.size}, where the file ends`,
    );
  }
  const table = view(source, tableStart, tableEnd - tableStart, "the section table");
  const sections = Array.from({ length: count }, (_, i) =>
    readSection(table, i * SECTION_SIZE, tableStart, source.size, sizeOfImage),
  );
  const machine = COFF.machine.get(coff, 0);
  return {
    source,
    machine,
    architecture: PE_MACHINES.get(machine),
    timeDateStamp: COFF.timeDateStamp.get(coff, 0),
    characteristics: COFF.characteristics.get(coff, 0),
    ...optional,
    sections,
  };
}

function readOptionalHeader(source: ByteSource, start: number, size: number) {
  const header = view(source, start, size, "the optional header");
  const magic = size < 2 ? 0 : OPTIONAL.magic.get(header, 0);
  const kind = OPTIONAL_HEADERS[magic];
  if (kind === undefined) {
    throw peError(start, `an optional header of type ${hex(magic)}; expected 0x10b or 0x20b`);
  }
  const count = size < kind.size ? 0 : u32(kind.size - 4).get(header, 0);
  const expected = kind.size + count * DIRECTORY_SIZE;
  if (count > MAX_DIRECTORIES || size !== expected) {
    const found = `an optional header of ${size} bytes, ${count} data directories`;
    const wanted =
      count > MAX_DIRECTORIES ? `at most ${MAX_DIRECTORIES} directories` : `${expected} bytes`;
    throw peError(start, `${found}; expected ${wanted}`);
  }
  const directories = Array.from({ length: count }, (_, i): PeDirectory => {
    const base = kind.size + i * DIRECTORY_SIZE;
    return {
      address: DIRECTORY.virtualAddress.get(header, base),
      size: DIRECTORY.size.get(header, base),
    };
  });
  const directory = start + kind.size + DIRECTORY_SECURITY * DIRECTORY_SIZE;
  const security = directories[DIRECTORY_SECURITY];
  const checkSum = start + OPTIONAL.checkSum.offset;
  const get = (name: keyof typeof OPTIONAL) => OPTIONAL[name].get(header, 0);
  return {
    format: kind.format,
    imageBase: kind.imageBase.get(header, 0),
    addressOfEntryPoint: get("addressOfEntryPoint"),
    sectionAlignment: get("sectionAlignment"),
    fileAlignment: get("fileAlignment"),
    majorImageVersion: get("majorImageVersion"),
    minorImageVersion: get("minorImageVersion"),
    sizeOfImage: get("sizeOfImage"),
    sizeOfHeaders: get("sizeOfHeaders"),
    checkSum: get("checkSum"),
    subsystem: get("subsystem"),
    dllCharacteristics: get("dllCharacteristics"),
    directories,
    certificates: certificateTable(security, directory, source.size),
    fields: {
      checkSum: { start: checkSum, end: checkSum + 4 },
      certificateDirectory:
        security === undefined ? undefined : { start: directory, end: directory + DIRECTORY_SIZE },
    },
  };
}

function certificateTable(
  directory: PeDirectory | undefined,
  offset: number,
  fileSize: number,
): ByteRange | undefined {
  if (directory === undefined || directory.size === 0) return undefined;
  const range = { start: directory.address, end: directory.address + directory.size };
  if (range.end <= fileSize) return range;
  const found = `certificates at ${range.start} to ${range.end}`;
  throw peError(offset, `${found}; expected them in the file's ${fileSize} bytes`);
}

function readSection(
  table: DataView,
  base: number,
  tableStart: number,
  fileSize: number,
  sizeOfImage: number,
): PeSection {
  const offset = tableStart + base;
  const bytes = new Uint8Array(table.buffer, table.byteOffset + base, NAME_SIZE);
  const end = bytes.indexOf(0);
  const name = fromBytes(bytes, 0, end < 0 ? NAME_SIZE : end);
  const virtualSize = SECTION.virtualSize.get(table, base);
  const virtualAddress = SECTION.virtualAddress.get(table, base);
  const size = SECTION.sizeOfRawData.get(table, base);
  // where there is nothing, it may say anything
  const start = size === 0 ? 0 : SECTION.pointerToRawData.get(table, base);
  const raw = { start, end: start + size };
  if (raw.end > fileSize) {
    const found = `the data of section "${display(name)}" at ${raw.start} to ${raw.end}`;
    throw peError(offset, `${found}; expected it in the file's ${fileSize} bytes`);
  }
  if (virtualSize > 0 && virtualAddress + virtualSize > sizeOfImage) {
    const found = `section "${display(name)}" goes to ${virtualAddress + virtualSize} in memory`;
    throw peError(offset, `${found}; expected at most the image's ${sizeOfImage} bytes`);
  }
  return {
    ...{ offset, name, virtualAddress, virtualSize, raw },
    content: { start, end: start + Math.min(size, virtualSize) },
    characteristics: SECTION.characteristics.get(table, base),
  };
}

function view(source: ByteSource, start: number, size: number, what: string): DataView {
  const end = start + size;
  if (end > source.size) {
    throw peError(start, `${what} goes to ${end}; the file has ${source.size} bytes`);
  }
  const bytes = readRange(source, { start, end });
  return new DataView(bytes.buffer, bytes.byteOffset, size);
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** An error that names the offset in the file. */
export function peError(offset: number, why: string): Error {
  return new Error(`PE offset ${offset}: ${why}`);
}
