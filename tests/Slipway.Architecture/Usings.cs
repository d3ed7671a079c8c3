global using ErrorCode = Slipway.Foundation.ErrorCode;
global using Xunit;
