/** Makes PE images for tests, field after field as Microsoft's "PE Format" lists them. */

export interface BuiltSection {
  /** Up to eight bytes. */
  readonly name: string;
  readonly data?: string | Uint8Array;
  /** The size of the data, if absent. */
  readonly virtualSize?: number;
  /** The next page that is free, if absent. */
  readonly virtualAddress?: number;
  readonly characteristics?: number;
  /** Bytes before it in the file that are no section's; the format has it that there are none. */
  readonly gap?: number;
}

export interface BuiltCertificate {
  readonly type: number;
  readonly data: Uint8Array;
}

export interface BuiltPe {
  readonly format?: "PE32" | "PE32+";
  readonly machine?: number;
  readonly subsystem?: number;
  readonly sections: readonly BuiltSection[];
  /** How many data directories there are: 16, if absent. */
  readonly directories?: number;
  /** Bytes between the DOS header and the PE header. */
  readonly stub?: number;
  readonly fileAlignment?: number;
  readonly checkSum?: number;
  /** Behind the last section. */
  readonly trailing?: Uint8Array;
  readonly certificates?: readonly BuiltCertificate[];
}

const PAGE = 4096;

/** The image's bytes. */
export function pe(built: BuiltPe): Buffer {
  const { format = "PE32+", sections, directories = 16, fileAlignment = 512 } = built;
  const plus = format === "PE32+";
  const before = 64 + (built.stub ?? 0);
  const optionalSize = (plus ? 112 : 96) + 8 * directories;
  const headers = before + 24 + optionalSize + 40 * sections.length;
  const sizeOfHeaders = align(headers, fileAlignment);
  let at = sizeOfHeaders;
  let address = align(sizeOfHeaders, PAGE);
  const placed = sections.map((section) => {
    const data = Buffer.from(section.data ?? "");
    const virtualSize = section.virtualSize ?? data.length;
    const virtualAddress = section.virtualAddress ?? address;
    address = align(Math.max(address, virtualAddress + virtualSize), PAGE);
    const start = at + (section.gap ?? 0);
    const rawSize = align(data.length, fileAlignment);
    at = start + rawSize;
    return { ...section, data, virtualSize, virtualAddress, start, rawSize };
  });
  const trailing = built.trailing ?? Buffer.alloc(0);
  const certificates = Buffer.concat((built.certificates ?? []).map(certificate));
  const end = at + trailing.length;
  const padding = certificates.length > 0 ? -end & 7 : 0;

  const out: Buffer[] = [];
  const put = (size: 2 | 4 | 8, ...values: number[]) => {
    for (const value of values) {
      const field = Buffer.alloc(size);
      if (size === 8) field.writeBigUInt64LE(BigInt(value));
      else field.writeUIntLE(value, 0, size);
      out.push(field);
    }
  };
  // IMAGE_DOS_HEADER
  out.push(Buffer.from("MZ"), Buffer.alloc(58));
  put(4, before);
  out.push(Buffer.alloc(before - 64, 0xcc), Buffer.from("PE\0\0"));
  // IMAGE_FILE_HEADER
  put(2, built.machine ?? 0x8664, sections.length);
  put(4, 0, 0, 0);
  put(2, optionalSize, 0x22);
  // standard fields
  put(2, plus ? 0x20b : 0x10b, 0);
  put(4, 0, 0, 0, PAGE, PAGE);
  if (!plus) put(4, 0);
  // Windows-specific fields
  put(plus ? 8 : 4, 0x400000);
  put(4, PAGE, fileAlignment);
  put(2, 0, 0, 6, 12, 1, 0);
  put(4, 0, address, sizeOfHeaders, built.checkSum ?? 0);
  put(2, built.subsystem ?? 10, 0x160);
  put(plus ? 8 : 4, 0x100000, 0x1000, 0x100000, 0x1000);
  put(4, 0, directories);
  for (let i = 0; i < directories; i++) {
    const isCertificates = i === 4 && certificates.length > 0;
    put(4, isCertificates ? end + padding : 0, isCertificates ? certificates.length : 0);
  }
  // section table
  for (const { name, virtualSize, virtualAddress, rawSize, start, characteristics } of placed) {
    out.push(Buffer.from(name.padEnd(8, "\0"), "latin1"));
    put(4, virtualSize, virtualAddress, rawSize, rawSize === 0 ? 0 : start, 0, 0);
    put(2, 0, 0);
    put(4, characteristics ?? 0x40000040);
  }
  out.push(Buffer.alloc(sizeOfHeaders - headers));
  for (const { data, gap = 0, rawSize } of placed) {
    out.push(Buffer.alloc(gap, 0xee), data, Buffer.alloc(rawSize - data.length));
  }
  return Buffer.concat([...out, trailing, Buffer.alloc(padding), certificates]);
}

/** WIN_CERTIFICATE */
function certificate({ type, data }: BuiltCertificate): Buffer {
  const out = Buffer.alloc(align(8 + data.length, 8));
  out.writeUInt32LE(8 + data.length, 0);
  out.writeUInt16LE(0x200, 4);
  out.writeUInt16LE(type, 6);
  out.set(data, 8);
  return out;
}

function align(size: number, to: number): number {
  return Math.ceil(size / to) * to;
}
