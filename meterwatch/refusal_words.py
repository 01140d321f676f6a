"""What a refusal says to an electrician, in Chinese. Pure.

A refusal is journalled with its English detail alone: the journal is not rewritten when a word
is, and refusals of years ago can be read too. Here each phrase that the decoders make is known by
its shape, with the names and numbers in it left as they came. A phrase that is not known stays
English: nothing is lost or invented. The tests let the real decoder refuse everything that
people meet, so a phrase that was reworded there and not here fails them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Final

_Q: Final = r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
"""A name as Python quotes it; it never runs past its quote."""
_QUOTED: Final = re.compile(_Q)
_KEY: Final = r"([\w.-]+/[\w.-]+)"
_DIMENSIONS: Final = {
    "energy": "能量", "power": "功率", "reactive power": "无功功率", "reactive energy": "无功电能",
    "apparent power": "视在功率", "apparent energy": "视在电能", "voltage": "电压",
    "current": "电流",
    "frequency": "频率", "rotation": "转速", "volume": "体积", "flow": "流量", "mass": "质量",
    "mass flow": "质量流量", "concentration": "浓度", "pressure": "压力", "ratio": "比值",
    "volume fraction": "体积分数", "acidity": "酸碱度", "length": "长度", "speed": "速度",
    "angle": "角度", "conductivity": "电导率", "turbidity": "浊度", "time": "时间",
    "temperature": "温度",
}  # fmt: skip
"""Of units (collector/units.py)."""


def _dimension(name: str) -> str:
    return _DIMENSIONS.get(name, name)


_SPANS: Final = {"d": "天", "h": "小时", "min": "分钟", "s": "秒"}


def _long(span: str) -> str:
    """A span such as ``8 h``."""
    number, _, unit = span.partition(" ")
    return f"{number} {_SPANS.get(unit, unit)}"


def _listed(names: str) -> str:
    return names.replace(", ", "、")


_SHAPES: Final = (
    # What a sender can do (adapters/sources/payload/receipts.py).
    (r"^publish to (meterwatch/v1/GATEWAY/readings)$", r"请发布到 \1"),
    (r"^send the form that (\S+) shows$", r"请按 \1 所示格式发送"),
    (r"^enter the gateway in its site's file, or correct its name at the sender$",
     "请在所属单位的文件中登记该网关，或在发送端更正名称"),
    (r"^enter the device in the registry, or correct its name at the sender$",
     "请在台账中登记该表计，或在发送端更正名称"),
    (r"^correct the name, or enter the quantity with the device$",
     "请更正名称，或为该表计登记此指标"),
    (r"^correct the unit$", "请更正计量单位"),
    (r"^if the meter was exchanged, enter the new one with its first day$",
     "如已换表，请登记新表及其启用日期"),
    (r"^enter the device with this gateway, or correct its name at the sender$",
     "请将该表计登记在此网关下，或在发送端更正名称"),
    (r"^correct the clock, or the device's dates in the registry$",
     "请校正时钟，或更正台账中该表计的日期"),
    (r"^correct the gateway's format in the registry, or what it sends$",
     "请更正台账中该网关的 format，或更正其上送内容"),
    (r"^raise retention_days first, or do not send it$",
     "请先调大 retention_days，或不再发送"),
    (r"^correct the clock, or the form of the time$", "请校正时钟，或更正时间格式"),
    (r"^send a number, true, false or null$", "请发送数字、true、false 或 null"),
    (r"^send fewer readings in each message$", "请每次少发一些读数"),
    (r"^nothing: it is kept, and for the operator to report$",
     "无需处理：已保存，由运维人员上报"),
    (r"^look at the external database: the archive has the readings$",
     "请查看外部库：读数已在本地库"),
    (r"^keep the readings, and wait$", "请保留读数，稍候"),
    (r"^the disk is nearly full: nothing of this message is stored yet$",
     "磁盘将满：该报文尚未保存"),
    (r'"id" has (\d+) characters, (\d+) are the most', r'"id" 有 \1 个字符，最多 \2 个'),
    (r'"id" is a number of more than (\d+) digits', r'"id" 超过 \1 位数字'),
    (r'"id" is (?:[a-z ]+), neither a text nor a whole number', '"id" 应为文本或整数'),
    (r"; it is not repeated$", "；未予回显"),
    # Who and what (adapters/sources/payload/plan.py, decoder.py).
    (rf"no gateway {_Q} in the registry: add it to its site's file",
     r"台账中没有网关 \1：请写入所属单位的文件"),
    (rf"no device {_Q} at site {_Q}", r"单位 \2 没有表计 \1"),
    (rf"{_KEY} is read through gateway {_Q}, not through {_Q}",
     r"\1 由网关 \2 采集，不由 \3 采集"),
    (rf"{_KEY} is read through a connection of its own, not through {_Q}",
     r"\1 由自己的连接直接采集，不由 \2 采集"),
    (rf"{_KEY} should have serial number (.*?), the message says (.*?): was the instrument "
     r"replaced\? Then enter the new one in the registry",
     r"\1 的表号应为 \2，报文中为 \3：如已换表，请在台账中登记新表"),
    (rf"{_KEY} brings no {_Q}", r"\1 没有指标 \2"),
    (rf"; is {_Q} meant\?", r"；是否应为 \1？"),
    (r" \(known: ([^()]*)\)", lambda found: f"（已知：{_listed(found[1])}）"),
    # Units (collector/units.py).
    (rf"{_KEY}, ([\w.]+): (?=unknown unit|\")", r"\1 的 \2："),
    (rf"unknown unit {_Q}", r"未知计量单位 \1"),
    (r"; did you mean ([^?]*)\?", lambda found: f"；是否应为 {_listed(found[1])}？"),
    (rf"{_Q} \(([\w ]+)\) cannot become {_Q} \(([\w ]+)\)",
     lambda found: f"{found[1]}（{_dimension(found[2])}）不能换算为 "
                   f"{found[3]}（{_dimension(found[4])}）"),
    (r": that needs the molar mass and the standard state; set the instrument or the "
     r"gateway to report mg/m3",
     r"：换算需要摩尔质量和标准状态，请把仪器或网关设为 mg/m³"),
    # Times (collector/normalise.py, decoder.py).
    (r"time (\S+) is no whole number of milliseconds since 1970",
     r"时间 \1 不是 1970 年以来的整数毫秒"),
    (r"time (\S+) looks like seconds: send milliseconds, 1000 times that",
     r"时间 \1 像是秒：请发送毫秒，即乘以 1000"),
    (r"time (\S+) looks like micro- or nanoseconds: send milliseconds",
     r"时间 \1 像是微秒或纳秒：请发送毫秒"),
    (r"time (\S+) is of 1970: has the gateway's clock lost its time\?",
     r"时间 \1 属于 1970 年：网关时钟是否已复位、未校时？"),
    # Times in another unit than said (adapters/sources/payload/when.py).
    (r"time (\S+) as (\w+) is of the year (-?\d+)", r"时间 \1 按 \2 解读为 \3 年"),
    (r", as (\w+) of (\S+): send with ", r"，按 \1 解读为 \2：请使用 "),
    (r"; it was read as (\w+): send with ", r"；已按 \1 解读：请使用 "),
    (r"a mapping with (time_unit = \w+)", r"含 \1 的格式文件"),
    (r": has the gateway's clock lost its time\?", "：网关时钟是否已复位、未校时？"),
    (rf"time {_Q}: there is no such day", r"时间 \1：没有这一天"),
    (rf"time {_Q}: there is no such time of day", r"时间 \1：没有这一时刻"),
    (rf"time {_Q} has no time of day: send (\S+)", r"时间 \1 缺少时刻：请写成 \2"),
    (r"time (\S+) is of 1970, and as seconds of (\S+): older readings send in milliseconds, or "
     r"has the gateway's clock lost its time\?",
     r"时间 \1 属于 1970 年，按秒为 \2：较早的读数请以毫秒发送；或网关时钟已复位、未校时？"),
    (r"^time (\d+) was read as milliseconds since 1970: send (\S+)$",
     r"时间 \1 按 1970 年以来的毫秒解读：请写成 \2"),
    (rf"{_KEY} has serial number (.*?), the message has an empty one",
     r"\1 的表号为 \2，报文中的表号为空"),
    (r"^leave serial out, or send the number$", "请去掉 serial，或发送表号"),
    # Remarks (adapters/sources/payload/remarks.py).
    (r"^([\d,]+) readings? (?:is|are) ([\d.,]+ \w+) in the future: (?:it is|they are) kept "
     r"and not used; set the clock",
     lambda found: f"有 {found[1]} 个读数的时间超前 {_long(found[2])}："
                   "只保存、不使用；请校时"),
    (r" \(without an offset it is read as (\S+?)\)", r"（无时区的时间按 \1 解读）"),
    (r" Its times have no offset and are read as (\S+): send one, as \+08:00",
     r"其时间不带时区，按 \1 解读：请带上时区，如 +08:00"),
    (r"(\S+) of (\S+) is (\S+ \S+), possible is (\S+) to (\S+): it is kept as implausible and "
     r"not used; is its unit right\?",
     r"\2 的 \1 为 \3，合理范围为 \4 至 \5：只保存、不使用；计量单位是否正确？"),
    (r"^([\d,]+) further values are as implausible$", r"另有 \1 个数值同样不合理"),
    (r" \(is local time written with Z\?\)", "（是否把本地时间写成了 Z？）"),
    (r"^units names (.+), which is not among the values$", r"units 中的 \1 不在 values 之内"),
    (r'^"flags" of a table is not used: send such readings as entries of "readings"$',
     '表中的 "flags" 不起作用：此类读数请写入 "readings"'),
    # Clocks (adapters/sources/payload/clocks.py).
    (r"its times are seconds where milliseconds are meant", "其时间以秒为单位，应为毫秒"),
    (r"its times are microseconds where milliseconds are meant",
     "其时间以微秒为单位，应为毫秒"),
    (r"its times are nanoseconds where milliseconds are meant",
     "其时间以纳秒为单位，应为毫秒"),
    (r": they were taken as such", "；已按此换算"),
    (r"; let it send milliseconds", "：请改发毫秒"),
    (r"its clock has lost its time: set it, and look at its battery",
     "网关时钟已复位、未校时：请校时并检查电池"),
    (r"its clock is steadily ([\d.]+ (?:h|min)) behind: is its zone wrong\?",
     lambda found: f"网关时钟持续偏慢 {_long(found[1])}：时区是否有误？"),
    (r"its clock is steadily ([\d.]+ (?:h|min)) ahead: is its zone wrong\?",
     lambda found: f"网关时钟持续偏快 {_long(found[1])}：时区是否有误？"),
    (r" Or are its times those at which a period began\?", "或其时间为统计时段的起点？"),
    (r"its clock is ([\d.]+ \w+) ahead: set it; such readings are kept and not used",
     lambda found: f"网关时钟快 {_long(found[1])}：请校时；此类读数只保存、不使用"),
    (r"its newest readings are steadily ([\d.]+ \w+) old: set its clock, or is it slow\?",
     lambda found: f"最新读数持续滞后 {_long(found[1])}：请校时，或检查上送是否过慢"),
    (r"time (\S+) is before 1970", r"时间 \1 早于 1970 年"),
    (rf"time {_Q} is a number in quotes: send it without, in milliseconds since 1970",
     r"时间 \1 是带引号的数字：请去掉引号，发送 1970 年以来的毫秒"),
    (rf"time {_Q} is not ISO 8601: send (\S+)", r"时间 \1 不是 ISO 8601 格式：请写成 \2"),
    (rf"time ({_Q}|\S+) is before the year 2000 or after 9999",
     r"时间 \1 早于 2000 年或晚于 9999 年"),
    (r"(\S+) measured at (\S+), before its service began by the registry",
     r"\1 的测量时间 \2 早于台账中的启用日期"),
    (r"(\S+) measured at (\S+), after its service ended by the registry",
     r"\1 的测量时间 \2 晚于台账中的停用日期"),
    (r"(\S+) measured at (\S+), older than ([\d,]+) days, which the archive keeps: raise "
     r"retention_days first, or do not send it",
     r"\1 的测量时间 \2 早于本地库保留的 \3 天：请先调大 retention_days，或不再发送"),
    # Payloads and values (adapters/sources/payload/shape.py, columns.py, decoder.py).
    # What is no JSON, and entries (adapters/sources/payload/faults.py).
    (r"^the message is empty$", "报文为空"),
    # What bytes probably are (adapters/sources/payload/raw.py).
    (r"^this is UTF-16: send UTF-8$", "报文是 UTF-16：请发送 UTF-8"),
    (r"^this is gzip within gzip: pack it once$", "报文经过两次 gzip 压缩：请只压缩一次"),
    (r"^this is zlib or deflate: pack it with gzip, or not at all$",
     "报文是 zlib 或 deflate 压缩：请用 gzip 压缩，或不压缩"),
    (r"^this looks like CBOR or MessagePack: send JSON$",
     "报文像是 CBOR 或 MessagePack：请发送 JSON"),
    (r"^this is not text: it begins with ((?:[0-9a-f]{2} ?)+)$", r"报文不是文本：开头为 \1"),
    (rf"^this looks like (XML|HJ 212|CSV): it begins with {_Q}$", r"报文像是 \1：开头为 \2"),
    (rf"^this is not JSON: it begins with {_Q}$", r"报文不是 JSON：开头为 \1"),
    (r"^this looks like base64: send what was encoded$", "报文像是 base64：请发送编码前的内容"),
    (r"^keys and texts need double quotes \(byte (\d+)\): is this Python's print of a dict\?$",
     r"键和文本应使用双引号（第 \1 字节）：是否为 Python 打印的字典？"),
    (r"^(\S+) is not JSON: is it a decimal comma\? Send (\S+)$",
     r"\1 不是 JSON：是否用逗号作小数点？请发送 \2"),
    (r"^these are two messages in one \(byte (\d+)\): send each by itself$",
     r"一条报文中有两条（第 \1 字节）：请逐条发送"),
    (rf", near {_Q}$", r"，附近为 \1"),
    (r"JSON is malformed: ", ""),
    (r"(?<=JSON: )object keys must be strings \(byte (\d+)\)",
     r"键应为带双引号的文本（第 \1 字节）"),
    (r"(?<=JSON: )trailing characters \(byte (\d+)\)", r"末尾之后还有内容（第 \1 字节）"),
    (r"(?<=JSON: )invalid number \(byte (\d+)\)", r"数字格式有误（第 \1 字节）"),
    (r"(?<=JSON: )invalid character \(byte (\d+)\)", r"有非法字符（第 \1 字节）"),
    (r"(?<=JSON: )expected (\S+) or (\S+) \(byte (\d+)\)",
     r"此处应为 \1 或 \2（第 \3 字节）"),
    (r"(?<=JSON: )expected (\S+) \(byte (\d+)\)", r"此处应为 \1（第 \2 字节）"),
    (r"this looks like JSON, where line protocol is expected: send it to /v1/readings, or "
     r"correct the gateway's format in the registry",
     "报文像是 JSON，此处应为行协议：请发送到 /v1/readings，或更正台账中该网关的 format"),
    (r"^the message is not UTF-8 \(byte (\d+)\): is it GBK\?$",
     r"报文不是 UTF-8（第 \1 字节）：是否为 GBK？"),
    (r"^(\S+) is not JSON: send (null|true|false)$", r"\1 不是 JSON：请发送 \2"),
    (r"a comma without anything behind it \(byte (\d+)\)", r"逗号之后没有内容（第 \1 字节）"),
    (r"(?<=JSON: )a number beyond float64", "数值超出 float64"),
    (r"it is nested too deeply", "嵌套过深"),
    (r"device (?:a list|an object): its id is a text", "表计编号应为文本"),
    (r"device (.{1,60}?): its id is a text", r"表计 \1：其编号应为文本"),
    (r"time (\S+): send whole milliseconds, (\d+|a number of more than \d+ digits)",
     r"时间 \1：请发送整数毫秒 \2"),
    (r"serial (.{1,60}?) is neither a whole number nor a text",
     r"表号 \1 既不是整数也不是文本"),
    (r"(units|flags) is an object, as (\{[^}]*\})", r"\1 应为对象，如 \2"),
    (r"(units|flags) of (.{1,80}?) is (.{1,60}?): send a text, as (\{[^}]*\})",
     r"\2 的 \1 为 \3：请发送文本，如 \4"),
    (r"this is not JSON: ", "报文不是 JSON："),
    (r'a message is an object with a list "readings"', '报文应是含有列表 "readings" 的对象'),
    (r"the message holds no readings", "报文中没有读数"),
    (r"the reading holds no values", "该读数没有数值"),
    (r"an entry of readings is not an object", "readings 中有一项不是对象"),
    (r'an entry of readings has no object "values"', 'readings 中有一项缺少对象 "values"'),
    (rf"{_KEY} brings none of (\d+) further quantities", r"\1 也没有其余 \2 项指标"),
    (r'"(\w+)" is a list, not an object: put \[ \] around it',
     r'"\1" 应为列表而不是对象：请在外面加 [ ]'),
    (r'"(\w+)" is a list, not (.{1,60})$', r'"\1" 应为列表，而不是 \2'),
    # meterwatch decode (meterwatch/decode.py).
    (r'^the registry says format = "([\w-]+)" of (\S+), here it is (\S+)$',
     r'台账中 \2 的 format = "\1"，此处按 \3 解读'),
    # Keys that are nearly ours (adapters/sources/payload/keys.py).
    (rf"{_Q} is not known: is {_Q} meant\?", r"未识别的键 \1：是否应为 \2？"),
    # What a message probably is (adapters/sources/payload/looks.py).
    (r'"(\w+)" lies within "(.{1,40}?)": send it at the top',
     r'"\1" 位于 "\2" 之内：请放在最外层'),
    (r"this is one reading: send it in a list, ", "这是单个读数：请放入列表 "),
    (r"this is a list of messages: send each by itself", "这是报文的列表：请逐条发送"),
    (r"this is a list of readings: send ", "这是读数的列表：请发送 "),
    (r"these are values by themselves: send ", "只有数值：请发送 "),
    (r"this is no message of the format (\S+?)(?=;|$)", r"报文不符合格式 \1"),
    (r"; it looks like our own form: the gateway's format in the registry decides: enter "
     r'none, or send that of "(.*?)"',
     r'；像是本系统自己的格式：以台账中该网关的 format 为准，请去掉它，或按 "\1" 发送'),
    (r"(?:this|it) looks like ([\w-]+)[;:] the gateway's format in the registry decides: "
     r"enter ",
     r"像是 \1：以台账中该网关的 format 为准，请填写 "),
    (r"a format of your own \(a file in mappings/\), or send ",
     "自定义格式（mappings/ 中的文件），或发送 "),
    # The compact form (adapters/sources/payload/tables.py).
    (r'an entry of tables has no list "(\w+)"', r'tables 中有一项缺少列表 "\1"'),
    (r'"(\w+)" of a table is given twice', r'表中 "\1" 出现两次'),
    (r'"(\w+)" of a table is neither a column nor beside the rows',
     r'表中缺少 "\1"：请列入 columns，或写在 rows 旁边'),
    (r"column (\S+) of a table is there twice", r"表中的列 \1 出现两次"),
    (r"a row has more cells than columns", "一行的单元格数多于列数"),
    (r"a row is a list, not (.{1,60}?)(?=; |$)", r"一行应为列表，而不是 \1"),
    (r"a row ends before its device and time", "一行缺少表计或时间"),
    (r"a row's device is a text, its time whole milliseconds or a text",
     "一行的表计应为文本，时间应为整数毫秒或文本"),
    # Other makers' formats (adapters/sources/payload/foreign.py, line_protocol.py, when.py).
    (r"a row is not of the format (\S+)", r"有一行不符合格式 \1"),
    (rf"there is no format {_Q}", r"没有格式 \1"),
    (r"the message does not say of which device, and its gateway has not just one",
     "报文没有说明表计，而该网关不止一块表"),
    (r'line (\d+) has no tag (".*?"), and its gateway has not just one device: add (\S+) '
     r"behind the measurement",
     r"第 \1 行没有标签 \2，而该网关不止一块表：请在 measurement 之后加上 \3"),
    (r"^add the tag, or correct its name$", "请加上该标签，或更正其名称"),
    (r" is a text: leave it out, or list it under ignore of a mapping",
     " 是文本：请去掉，或列入格式文件的 ignore"),
    (r"^leave it out, or list it under ignore of a mapping$",
     "请去掉，或列入格式文件的 ignore"),
    (r": a value is a number, true or false; without one leave the field out",
     "：数值应为数字、true 或 false；没有数值时请去掉该字段"),
    (r'there is no name of a device at (".*?")', r"\1 处没有表计名称"),
    (r"an entry has no (\"[^\"]*\")", r"有一项缺少 \1"),
    (r"(\S+) is (\S+) too, and the first one is taken", r"\1 也是 \2，取第一个"),
    (r"the reading has no time", "该读数没有时间"),
    (rf"time {_Q} is not written as {_Q}", r"时间 \1 不是 \2 的形式"),
    (r"time (?:a list|an object) is neither a number nor a text",
     "时间是列表或对象，应为数字或文本"),
    (r"time (\S+) is neither a number nor a text", r"时间 \1 既不是数字也不是文本"),
    (r"time (.{1,60}?) is no whole number", r"时间 \1 不是整数"),
    (r"time (.{1,60}?) is no time", r"\1 不是时间"),
    (rf"line (\d+) cannot be read: ([^;]*?): {_Q}", r"第 \1 行无法读取：\2：\3"),
    (r"a field has no name and value joined by =", "字段应为用 = 连接的名称和数值"),
    (r"a tag has no name and value joined by =", "标签应为用 = 连接的名称和值"),
    (r"field (\S+) has no value", r"字段 \1 没有数值"),
    (r"something follows the value of field (\S+)", r"字段 \1 的数值之后还有内容"),
    (r"a line begins with its measurement", "一行以 measurement 开头"),
    (r"no blank stands between measurement with tags and the fields",
     "measurement 和标签与字段之间没有空格"),
    (r": a number beyond float64", "：数值超出 float64"),
    (r": an integer of more than 64 bits", "：整数超过 64 位"),
    (r"the message holds more than ([\d,]+) lines", r"报文超过 \1 行"),
    (r"this is not UTF-8: ", "报文不是 UTF-8："),
    (rf"^precision {_Q}: one of (.*)$", r"precision \1：应为 \2 之一"),
    # Sizes (adapters/sources/payload/unpack.py).
    (r"this is not gzip: ", "报文不是 gzip："),
    (r"it ends before its end", "数据不完整"),
    (r"something follows its end", "末尾之后还有内容"),
    (r"the message has ([\d,]+) bytes, ([\d,]+) are the most", r"报文有 \1 字节，最多 \2 字节"),
    (r"the message holds ([\d,]+) values, ([\d,]+) are the most",
     r"报文含 \1 个数值，最多 \2 个"),
    (r"the message becomes more than ([\d,]+) bytes when it is unpacked",
     r"报文解压后超过 \1 字节"),
    (r"the message becomes (\d+) times its size when it is unpacked",
     r"报文解压后达到原大小的 \1 倍"),
    (r'"backfill" is neither true nor false; taken as false',
     '"backfill" 既不是 true 也不是 false，按 false 处理'),
    (r"(?<= = )a number of more than (\d+) digits", r"超过 \1 位的数字"),
    (r": a value is a number, true, false or null", "：数值应为数字、true、false 或 null"),
    (r"Object missing required field `(\w+)`", r"缺少字段 `\1`"),
    (rf"topic {_Q} is not meterwatch/v1/GATEWAY/readings",
     r"主题 \1 不是 meterwatch/v1/GATEWAY/readings"),
    (r"^topic (.*): (\S+) publishes to (\S+)$", r"主题 \1：\2 应发布到 \3"),
    (r"the message has ([\d,]+) bytes(?=;)", r"报文有 \1 字节"),
    (r"; let the gateway send fewer readings in each", "：请让网关每次少发一些读数"),
    (r"the same for further devices of this message", "该报文的其他表计也是如此"),
    (r"the program failed on (?:this message|these readings): ", "程序处理时出错："),
)  # fmt: skip


@cache
def _shapes() -> tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]:
    """Compiled when they are first asked for: most commands never speak Chinese."""
    return tuple((re.compile(shape), told) for shape, told in _SHAPES)


def refusal(detail: str, language: str) -> str:
    """``detail`` of a refusal in ``language`` (``zh``; any other: as it is)."""
    if language != "zh":
        return detail
    said = detail
    for shape, told in _shapes():
        said = shape.sub(told, said)
    if said == detail:
        return detail
    # Between what is told; what is quoted stays as it came.
    parts = _QUOTED.split(said)
    parts[::2] = [part.replace("; ", "；") for part in parts[::2]]
    return "".join(parts)
