namespace Slipway.Registry;

internal enum TokenKind
{
    Word,
    Number,
    Text,
    Operator,
    Open,
    Close,
    Comma,
    Semicolon,
}

/// <summary>A lexical token of a filter or an order_by term.</summary>
/// <param name="Kind">Class.</param>
/// <param name="Text">A word with its quotes removed piece by piece, the inside of a string, or the operator as written.</param>
/// <param name="Key">For a word with a dot: the part behind the first dot.</param>
/// <param name="Quoted">True for a word that consists of one quoted piece.</param>
/// <param name="At">Position of its first character.</param>
internal readonly record struct FilterToken(TokenKind Kind, string Text, string? Key, bool Quoted, int At)
{
    public bool Is(string keyword) => Kind == TokenKind.Word && !Quoted && Key is null && Text.Equals(keyword, StringComparison.OrdinalIgnoreCase);
}

/// <summary>Splits MLflow's search language into tokens.</summary>
/// <remarks>
/// A word is a run of pieces: plain characters, back-ticked or double-quoted text; its first dot outside of quotes separates
/// entity and key. A string keeps everything between its outer quotes: a doubled or back-slashed quote neither ends it nor is it
/// unescaped. Time is linear in the length of the text.
/// </remarks>
internal static class FilterTokens
{
    /// <exception cref="SlipwayException">InvalidArgument at an unclosed quote or a stray character.</exception>
    public static List<FilterToken> Read(string text)
    {
        var tokens = new List<FilterToken>();
        var i = 0;
        while (i < text.Length)
        {
            var c = text[i];
            if (char.IsWhiteSpace(c))
            {
                i++;
                continue;
            }

            var start = i;
            switch (c)
            {
                case '(':
                    tokens.Add(new(TokenKind.Open, "(", null, false, i++));
                    break;
                case ')':
                    tokens.Add(new(TokenKind.Close, ")", null, false, i++));
                    break;
                case ',':
                    tokens.Add(new(TokenKind.Comma, ",", null, false, i++));
                    break;
                case ';':
                    tokens.Add(new(TokenKind.Semicolon, ";", null, false, i++));
                    break;
                case '=' or '!' or '<' or '>':
                    i += i + 1 < text.Length && text[i + 1] == '=' ? 2 : 1;
                    tokens.Add(new(TokenKind.Operator, text[start..i], null, false, start));
                    break;
                case '\'':
                    i = EndOfQuote(text, i);
                    tokens.Add(new(TokenKind.Text, text[(start + 1)..(i - 1)], null, true, start));
                    break;
                default:
                    i = TryNumber(text, i, tokens) ?? ReadWord(text, i, tokens);
                    break;
            }
        }

        return tokens;
    }

    private static int? TryNumber(string text, int start, List<FilterToken> tokens)
    {
        var i = start;
        if (text[i] is '-' or '+')
        {
            i++;
        }

        var digits = i;
        while (i < text.Length && (char.IsAsciiDigit(text[i]) || text[i] == '.'))
        {
            i++;
        }

        if (i == digits || !text.AsSpan(digits, i - digits).ContainsAnyInRange('0', '9'))
        {
            return null;
        }

        if (i < text.Length && text[i] is 'e' or 'E')
        {
            var exponent = i + 1;
            if (exponent < text.Length && text[exponent] is '-' or '+')
            {
                exponent++;
            }

            if (exponent < text.Length && char.IsAsciiDigit(text[exponent]))
            {
                i = exponent;
                while (i < text.Length && char.IsAsciiDigit(text[i]))
                {
                    i++;
                }
            }
        }

        if (i < text.Length && IsWord(text[i]))
        {
            return null;
        }

        tokens.Add(new(TokenKind.Number, text[start..i], null, false, start));
        return i;
    }

    private static int ReadWord(string text, int start, List<FilterToken> tokens)
    {
        var pieces = new System.Text.StringBuilder();
        int? dot = null;
        var i = start;
        var quotes = 0;
        while (i < text.Length)
        {
            if (text[i] is '`' or '"')
            {
                var end = EndOfQuote(text, i);
                pieces.Append(text, i + 1, end - i - 2);
                i = end;
                quotes++;
                if (dot is null && !(i < text.Length && text[i] == '.'))
                {
                    break;
                }
            }
            else if (IsWord(text[i]))
            {
                if (text[i] == '.' && dot is null)
                {
                    dot = pieces.Length;
                }

                pieces.Append(text[i++]);
            }
            else
            {
                break;
            }
        }

        if (i == start)
        {
            throw Invalid($"character '{text[start]}' at position {start + 1}", text);
        }

        var word = pieces.ToString();
        tokens.Add(dot is { } at
            ? new(TokenKind.Word, word[..at], word[(at + 1)..], false, start)
            : new(TokenKind.Word, word, null, quotes == 1, start));
        return i;
    }

    private static int EndOfQuote(string text, int start)
    {
        var quote = text[start];
        for (var i = start + 1; i < text.Length; i++)
        {
            if (text[i] == '\\' && i + 1 < text.Length && text[i + 1] == quote && quote != '`' && text.IndexOf(quote, i + 2) > 0)
            {
                i++;
            }
            else if (text[i] == quote)
            {
                if (i + 1 < text.Length && text[i + 1] == quote)
                {
                    i++;
                    continue;
                }

                return i + 1;
            }
        }

        throw Invalid($"the quote at position {start + 1} is not closed", text);
    }

    private static bool IsWord(char c) => !char.IsWhiteSpace(c) && c is not ('=' or '!' or '<' or '>' or '(' or ')' or ',' or ';' or '\'' or '"' or '`');

    internal static SlipwayException Invalid(string why, string text) =>
        new(ErrorCode.InvalidArgument, $"Invalid clause(s) in filter string: '{Cut(text)}'", why, "join conditions by AND: metrics.auc > 0.8 AND params.model = 'gbm'");

    internal static string Cut(string text) => text.Length <= 200 ? text : text[..200] + "…";
}
